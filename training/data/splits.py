"""Deals scenes to the splits: by seed and index, and none of them in two splits.

What a scene shows (not where) is hashed, and the hash decides the one split that may show it. So no composition of the
benchmark is ever trained on or kept in the library, and every scene can be drawn again from (world, split, index).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.data.captions import caption
from training.data.compose import ARRANGEMENTS, LIBRARY_ARRANGEMENTS, compose
from training.data.layout import lay_out
from training.data.scene import Composition, Scene
from training.data.world import SPLITS, Split, World

SHARES: dict[Split, range] = {
    "benchmark": range(0, 2),
    "validation": range(2, 3),
    "library": range(3, 6),
    "train": range(6, 16),
}
"""Which sixteenths of all compositions belong to a split."""


def scene(world: World, split: Split, index: int) -> Scene:
    """Draw the scene of a split at an index, always the same.

    Args:
        world: Its concepts and its seed.
        split: Which share of all compositions.
        index: 0 or more.

    Returns:
        The scene; its picture comes from `training.data.render.draw`.

    Raises:
        ValueError: There is no such split.
    """
    if split not in SHARES:
        raise ValueError(f"split is {split!r}; allowed are {', '.join(SPLITS)}")
    random = np.random.Generator(np.random.Philox(key=[world.seed, (SPLITS.index(split) << 48) + index]))
    composition = _compose_within(random, world, split)
    return Scene(split, index, composition, lay_out(random, composition), caption(random, composition))


def scenes(world: World, split: Split, count: int, start: int = 0) -> list[Scene]:
    """The scenes of a split from ``start`` on.

    Args:
        world: Its concepts and its seed.
        split: Which share of all compositions.
        count: How many, 0 or more.
        start: Index of the first, 0 or more.

    Returns:
        ``count`` scenes, as `scene` draws them.

    Raises:
        ValueError: There is no such split.
    """
    return [scene(world, split, index) for index in range(start, start + count)]


def split_of(composition: Composition) -> Split:
    """The only split that may show a composition."""
    sixteenth = composition.digest % 16
    return next(split for split, share in SHARES.items() if sixteenth in share)


def _compose_within(random: np.random.Generator, world: World, split: Split) -> Composition:
    cumulative = _cumulative(world, split)
    arrangements = LIBRARY_ARRANGEMENTS if split == "library" else ARRANGEMENTS
    while True:
        composition = compose(random, world.names, cumulative, arrangements)
        if split_of(composition) == split:
            return composition


@cache
def _cumulative(world: World, split: Split) -> NDArray[np.float64]:
    return np.cumsum(world.weights(split))
