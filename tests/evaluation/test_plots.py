"""The plots: from numbers alone, always the same file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.plots import COMPARED, PLOTS, draw_plots
from training.evaluation.plotting import spread

FREQUENCIES = {"cat": ("common", 1200.0), "tulip": ("rare", 60.0), "fox": ("library_only", 0.0)}


def interval(mean: float) -> list[float]:
    return [mean, mean - 0.02, mean + 0.03]


def row(mean: float, ms: float) -> dict[str, Any]:
    recall = {kind: interval(mean) for kind, _ in FREQUENCIES.values()}
    return {"tifa": interval(mean), "by_element_type": {"object": interval(mean)}, "recall": recall, "ms": ms}


@pytest.fixture
def document() -> dict[str, Any]:
    rows = {
        name: row(0.7 + 0.01 * place, 1400.0 if place == 0 else 60.0) for place, name in enumerate(COMPARED)
    }
    gains = {kind: [0.1, -0.1, 0.2] for kind, _ in FREQUENCIES.values()}
    return {
        "rows": rows,
        "paired_recall": {"adapter_minus_base": gains, "adapter_minus_lora_only": gains},
        "controls": {"adapter_k1_1": row(0.7, 60.0)},
        "by_concept": {
            name: {
                "frequency": kind,
                "training_pictures": shown,
                "asked": 9,
                "recall": dict.fromkeys(COMPARED, 0.5),
            }
            for name, (kind, shown) in FREQUENCIES.items()
        },
    }


def test_the_same_numbers_give_the_same_bytes(document: dict[str, Any], tmp_path: Path) -> None:
    first = draw_plots(document, tmp_path / "first")
    assert list(first) == list(PLOTS)
    assert draw_plots(document, tmp_path / "second") == first
    for file in first.values():
        drawn = (tmp_path / "first" / file).read_bytes()
        assert drawn == (tmp_path / "second" / file).read_bytes()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert b"<dc:date>" not in drawn


def test_other_numbers_give_another_plot(document: dict[str, Any], tmp_path: Path) -> None:
    draw_plots(document, tmp_path / "first")
    document["rows"]["adapter_1"] |= {"tifa": interval(0.9)}
    draw_plots(document, tmp_path / "second")
    assert (tmp_path / "first" / "tifa.svg").read_bytes() != (tmp_path / "second" / "tifa.svg").read_bytes()


def test_what_was_not_measured_is_not_drawn(document: dict[str, Any], tmp_path: Path) -> None:
    """Results of an earlier version, and of a chosen few rows; a plot of other numbers must not stay."""
    draw_plots({"rows": {}, "by_concept": document["by_concept"]} | document, tmp_path)
    del document["by_concept"]
    document["controls"] = {}
    assert set(draw_plots(document, tmp_path)) == set(PLOTS) - {"frequency", "controls"}
    assert {file.stem for file in tmp_path.iterdir()} == set(PLOTS) - {"frequency", "controls"}
    assert draw_plots({"rows": {}, "controls": {}}, tmp_path) == {}


@given(st.lists(st.floats(-10, 10), max_size=9), st.floats(0.01, 3))
def test_labels_are_moved_apart_in_their_order(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    order = sorted(range(len(places)), key=lambda number: places[number])
    apart = [moved[upper] - moved[lower] for lower, upper in pairwise(order)]
    assert all(distance >= gap - 1e-9 for distance in apart)
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)


def test_labels_that_are_apart_stay() -> None:
    assert spread([3.0, 1.0, 2.0], 0.9) == [3.0, 1.0, 2.0]
