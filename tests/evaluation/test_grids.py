"""The side-by-side page: what it shows is chosen by the rule that it states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.scene import Scene
from training.data.world import World
from training.evaluation.grids import LABELS, PER_GRID, WITH, WITHOUT, Material, choose_grids, write_grids
from training.evaluation.judge import Judge
from training.evaluation.results import Benchmark, measure
from training.evaluation.strip import Shown, draw_strip

GAINS = st.lists(st.integers(-4, 4), min_size=1, max_size=60)


@given(GAINS, st.integers(1, 15))
def test_largest_and_smallest_are_what_they_are_called(gains: list[int], count: int) -> None:
    chosen = choose_grids(gains, count)
    for name, sign in (("largest", 1), ("smallest", -1)):
        indices = chosen[name]
        others = set(range(len(gains))) - set(indices)
        assert len(indices) == min(count, len(gains))
        assert [(-sign * gains[i], i) for i in indices] == sorted((-sign * gains[i], i) for i in indices)
        last = (-sign * gains[indices[-1]], indices[-1])
        assert all((-sign * gains[i], i) > last for i in others)


@given(st.integers(1, 2000), st.integers(1, 15))
def test_the_places_between_do_not_depend_on_the_pictures(size: int, count: int) -> None:
    chosen = choose_grids([0] * size, count)["spaced"]
    assert chosen == choose_grids(list(range(size)), count)["spaced"]
    assert len(chosen) == min(count, size)
    assert chosen[0] == 0
    steps = np.diff(chosen)
    assert steps.size == 0 or steps.max() - steps.min() <= 1


@pytest.fixture
def material(judge: Judge, tiny_world: World, asked: list[Scene]) -> Material:
    """The base draws the next scene instead of the one that is asked for; the adapter draws what is asked."""
    benchmark = Benchmark.of(asked[:5], tiny_world.names, family="tiny")
    right = benchmark.pictures(judge.resolution)
    pictures = dict.fromkeys(LABELS, right) | {WITHOUT: np.roll(right, 1, axis=0)}
    details = {
        name: measure(judge, benchmark, some)[1]["question_details"] for name, some in pictures.items()
    }

    def references(indices: Sequence[int]) -> list[list[Shown]]:
        return [[Shown(right[index], f"reference of {index}", 0.25)] * (index % 5) for index in indices]

    return Material(benchmark, pictures, details, references)


def test_page_says_what_was_answered_wrong_and_shows_every_strip(material: Material, tmp_path: Path) -> None:
    stale = tmp_path / "results" / "grids" / f"largest_{PER_GRID:02d}.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    write_grids(material, tmp_path)
    page = (tmp_path / "grids.md").read_text()
    strips = sorted(stale.parent.iterdir())
    assert len(strips) == 15  # five captions, three times
    assert all(f"](results/grids/{strip.name})" in page for strip in strips)
    assert max(material.gains()) > 0
    best = choose_grids(material.gains())["largest"][0]
    section = page.split("### ")[1]
    assert section.startswith(f"1. {material.benchmark.prompts[best]}\n")
    for row, label in LABELS.items():
        line = next(line for line in section.splitlines() if line.startswith(f"- {label}, wrong: "))
        for question, one in material.asked(best, row).items():
            assert (question in line) == (one["scores"] == 0)
    more = sum(gain > 0 for gain in material.gains())
    assert f"Of 5 captions, retrieval has more questions right in {more}" in page


def test_a_page_is_the_same_each_time(material: Material, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        write_grids(material, folder)
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    for file in files:
        written = (first / file).read_bytes().replace(str(first).encode(), str(second).encode())
        assert written == (second / file).read_bytes()


def test_a_strip_has_room_for_every_reference(material: Material) -> None:
    picture = material.pictures[WITH][0]
    shown = Shown(
        picture, "a caption that is so long that it can not stand beside the picture whole " * 3, 1.0
    )
    widths = [draw_strip({"a": picture, "b": picture}, [shown] * count).width for count in (0, 1, 2, 3, 5)]
    assert widths[0] == widths[1] == widths[2] < widths[3] < widths[4]
    strip = np.asarray(draw_strip({"a": picture}, [shown]))
    assert (strip[:, -4:] == 255).all()  # the text ends before the edge
