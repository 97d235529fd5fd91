"""Other things in the places of a scene's things."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.captions import describe
from training.data.render import draw
from training.data.splits import scene
from training.data.substitute import substitute
from training.data.world import World

WORLD = World(common=("cat", "dog", "apple", "bus"), rare=(), library_only=())
OTHERS = ("fox", "violin", "teddy bear")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**30), st.integers(0, 2**30))
def test_only_what_is_shown_changes(index: int, seed: int) -> None:
    before = scene(WORLD, "train", index)
    after = substitute(np.random.default_rng(seed), before, OTHERS)
    assert after == substitute(np.random.default_rng(seed), before, OTHERS)
    assert set(OTHERS) & set(after.concepts)
    assert set(after.concepts) <= set(OTHERS) | set(before.concepts)
    assert len(after.concepts) == len(before.concepts)
    assert (after.background, after.place, after.relation) == (
        before.background,
        before.place,
        before.relation,
    )
    assert [(one.x, one.y, one.size) for one in after.placed] == [
        (one.x, one.y, one.size) for one in before.placed
    ]
    assert [(group.count, group.size) for group in after.groups] == [
        (group.count, group.size) for group in before.groups
    ]
    assert all(describe(group) in after.caption for group in after.groups)
    assert not np.array_equal(draw(before), draw(after))


def test_with_fewer_names_than_groups_some_groups_stay() -> None:
    three = next(one for one in (scene(WORLD, "train", i) for i in range(500)) if len(one.groups) == 3)
    after = substitute(np.random.default_rng(0), three, ("fox",))
    assert sum(group.concept == "fox" for group in after.groups) == 1


def test_names_that_the_scene_shows_already_are_refused() -> None:
    one = scene(WORLD, "train", 0)
    with pytest.raises(ValueError, match=r"none of .* names is new to the scene"):
        substitute(np.random.default_rng(0), one, one.concepts)
