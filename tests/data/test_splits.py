"""The dealing of scenes: by seed alone, long-tailed, and no composition in two splits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.layout import lay_out
from training.data.render import draw
from training.data.scene import RELATIONS, Composition, Group
from training.data.splits import scene, scenes, split_of
from training.data.world import SPLITS, Split, World

WORLD = World(
    common=("cat", "dog", "apple", "bus", "owl", "key"), rare=("tiger", "pear"), library_only=("fox",)
)

indices = st.integers(0, 2**40)
splits = st.sampled_from(SPLITS)


@settings(max_examples=60, deadline=None)
@given(splits, indices)
def test_a_scene_is_the_same_every_time(split: Split, index: int) -> None:
    first, second = scene(WORLD, split, index), scene(WORLD, split, index)
    assert first == second
    assert np.array_equal(draw(first), draw(second))


@settings(max_examples=200, deadline=None)
@given(splits, indices)
def test_what_a_scene_shows_belongs_to_its_split_alone(split: Split, index: int) -> None:
    assert split_of(scene(WORLD, split, index).composition) == split


def test_no_composition_is_shared_between_splits() -> None:
    shown = {split: {s.composition.digest for s in scenes(WORLD, split, 1500)} for split in SPLITS}
    for split in SPLITS:
        others = set().union(*(shown[other] for other in SPLITS if other != split))
        assert not shown[split] & others


def test_training_follows_the_long_tail_and_never_shows_the_library_only() -> None:
    counts = Counter(name for s in scenes(WORLD, "train", 4000) for name in s.concepts)
    assert counts["fox"] == 0
    common, rare = np.mean([counts[n] for n in WORLD.common]), np.mean([counts[n] for n in WORLD.rare])
    assert 0 < rare < 0.12 * common  # the factor is 0.05, and chance


def test_the_library_shows_everything_alike() -> None:
    counts = Counter(name for s in scenes(WORLD, "library", 4000) for name in s.concepts)
    assert set(counts) == set(WORLD.names)
    assert max(counts.values()) < 1.5 * min(counts.values())


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed are train, library, benchmark, validation"):
        scene(WORLD, "test", 0)  # type: ignore[arg-type]


def test_another_seed_is_another_world() -> None:
    other = World(WORLD.common, WORLD.rare, WORLD.library_only, seed=1)
    assert [s.caption for s in scenes(WORLD, "train", 20)] != [s.caption for s in scenes(other, "train", 20)]


def test_the_tightest_scenes_find_a_layout() -> None:
    random = np.random.default_rng(0)
    for counts in ((1, 2), (2, 1)):
        groups = tuple(
            Group(name, count, "medium") for name, count in zip(("cat", "dog"), counts, strict=True)
        )
        for relation in RELATIONS:
            tight = Composition(groups, "red", None, relation)
            assert all(len(lay_out(random, tight)) == 3 for _ in range(25))
