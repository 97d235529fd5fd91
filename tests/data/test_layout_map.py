"""Layout maps: what part of which thing a cell shows."""

from __future__ import annotations

import numpy as np

from training.data.layout_map import layout_maps
from training.data.scene import Composition, Placed, Scene
from training.data.splits import scenes
from training.data.world import World

WORLD = World(common=("cat", "dog", "apple"), rare=(), library_only=())


def of(*placed: Placed, side: int = 8) -> np.ndarray:
    return layout_maps([Scene("train", 0, Composition((), "red", None, None), placed, "")], side)[0]


def test_a_thing_in_the_middle() -> None:
    maps = of(Placed("cat", 0.5, 0.5, 0.5))
    assert maps[0].sum() == 16  # 4 x 4 cells
    np.testing.assert_allclose(maps[1, 3, 2:6], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(maps[2, 2:6, 3], [-0.75, -0.25, 0.25, 0.75])
    assert np.unique(maps[3]).tolist() == [0, 0.5]
    assert not maps[:, maps[0] == 0].any()


def test_what_is_smaller_than_a_cell_leaves_no_mark() -> None:
    assert not of(Placed("cat", 0.5, 0.5, 0.1), side=4).any()


def test_every_drawn_thing_is_marked() -> None:
    some = scenes(WORLD, "train", 50)
    for scene, maps in zip(some, layout_maps(some, 8), strict=True):
        for placed in scene.placed:
            column, row = int(placed.x * 8), int(placed.y * 8)
            assert maps[0, row, column] == 1
        assert np.abs(maps[1:3]).max() <= 0.9
