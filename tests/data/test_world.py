"""A world's config: what is wrong is named."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.concepts import concepts
from training.data.world import SPLITS, World, parse_world


def test_names_that_are_no_concepts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown concepts \['warp drive'\]"):
        World(common=("cat", "warp drive"), rare=(), library_only=())


def test_a_name_in_two_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        World(common=("cat",), rare=("cat",), library_only=())


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown keys \['rares'\]"):
        parse_world({"common": ["cat"], "rares": [], "library_only": []})


def test_chances_sum_to_one_and_what_is_not_drawn_stays_unseen() -> None:
    world = World(common=("cat", "dog"), rare=("owl",), library_only=("fox",))
    for split in SPLITS:
        assert np.isclose(world.weights(split).sum(), 1.0)
    assert set(world.unseen) == set(concepts()) - set(world.names)
    assert world.frequency("owl") == "rare"
