"""Where the things of a scene stand, cell by cell, in numbers that a network can be asked for."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.scene import Placed, Scene

CHANNELS = 4
"""Presence, across, down, side: what `layout_maps` tells of a cell."""
REACH = 0.45  # of a thing's side, from its centre: glyphs seldom fill the corners of their square


def layout_maps(scenes: Sequence[Scene], side: int) -> NDArray[np.float32]:
    """Tell for every cell whether a thing stands there, and which part of it.

    Args:
        scenes: N of them.
        side: Cells along a side of h.

    Returns:
        (N, 4, side, side) float32: presence (0 or 1); how far right and down of the thing's centre the cell lies, in
        halves of its side, so about -1 to 1; and that side as a share of the picture's. 0 on the ground.
    """
    maps = np.zeros((len(scenes), CHANNELS, side, side), dtype=np.float32)
    centres = (np.arange(side) + 0.5) / side
    for place, scene in enumerate(scenes):
        for placed in scene.placed:
            _mark(maps[place], placed, centres)
    return maps


def kind_maps(scenes: Sequence[Scene], side: int, numbers: MutableMapping[str, int]) -> NDArray[np.int64]:
    """Tell for every cell which thing stands there.

    Args:
        scenes: N of them.
        side: Cells along a side of h.
        numbers: Name of a concept -> its number; names that are new get the next ones.

    Returns:
        (N, side, side) int64; -1 on the ground.
    """
    maps = np.full((len(scenes), side, side), -1, dtype=np.int64)
    centres = (np.arange(side) + 0.5) / side
    for place, scene in enumerate(scenes):
        for placed in scene.placed:
            rows, columns = covered(placed, centres)
            maps[place][np.ix_(rows, columns)] = numbers.setdefault(placed.concept, len(numbers))
    return maps


def covered(placed: Placed, centres: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The rows and the columns of cells, (side,) each, that a thing stands in."""
    reach = REACH * placed.size
    return np.abs(centres - placed.y) < reach, np.abs(centres - placed.x) < reach


def _mark(cells: NDArray[np.float32], placed: Placed, centres: NDArray[np.float64]) -> None:
    rows, columns = (np.flatnonzero(one) for one in covered(placed, centres))
    if not rows.size or not columns.size:  # smaller than a cell
        return
    half = placed.size / 2
    across, down = (centres[columns] - placed.x) / half, (centres[rows] - placed.y) / half
    window = cells[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window[0], window[1], window[2], window[3] = 1.0, across, down[:, None], placed.size
