"""How often a concept is shown: closed form against what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.compose import ARRANGEMENTS, LIBRARY_ARRANGEMENTS, compose
from training.data.exposure import expected_pictures
from training.data.world import SPLITS, Split, World

COMMON, RARE, LIBRARY_ONLY = ("cat", "apple", "bus", "tulip"), ("frog", "key"), ("pear",)


@given(rare_factor=st.floats(0.001, 1), split=st.sampled_from(SPLITS), rare=st.integers(0, 2))
def test_every_group_is_counted_once(rare_factor: float, split: Split, rare: int) -> None:
    """All concepts together are shown as often as scenes have groups."""
    world = World(common=COMMON, rare=RARE[:rare], library_only=LIBRARY_ONLY, rare_factor=rare_factor)
    shown = expected_pictures(world, 1000, split)
    arrangements = LIBRARY_ARRANGEMENTS if split == "library" else ARRANGEMENTS
    groups = sum(len(counts) * chance for counts, chance in arrangements)
    assert sum(shown.values()) == pytest.approx(1000 * groups)
    assert all(0 <= pictures <= 1000 + 1e-6 for pictures in shown.values())
    assert (shown["pear"] == 0) == (split == "train")


def test_what_is_drawn_agrees() -> None:
    world = World(common=COMMON, rare=RARE, library_only=LIBRARY_ONLY, rare_factor=0.2)
    random, cumulative = np.random.default_rng(0), np.cumsum(world.weights("train"))
    drawn = [compose(random, world.names, cumulative) for _ in range(2000)]
    for name, expected in expected_pictures(world, 2000).items():
        seen = sum(name in [group.concept for group in one.groups] for one in drawn)
        assert abs(seen - expected) <= 4 * np.sqrt(expected)


def test_a_rare_concept_is_shown_about_as_often_as_its_factor_says() -> None:
    names = tuple("cat dog horse cow pig rabbit elephant lion bear penguin owl frog fish crab".split())
    shown = expected_pictures(
        World(common=names[1:], rare=names[:1], library_only=(), rare_factor=0.05), 1000
    )
    assert shown["cat"] / shown["dog"] == pytest.approx(0.05, rel=0.1)
