"""Finds places for what a scene shows: inside the picture, apart from each other, true to the relation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.scene import Composition, Placed

SIDES = {
    1: {"small": 0.42, "medium": 0.56, "big": 0.75},
    2: {"small": 0.37, "medium": 0.46, "big": 0.46},
    3: {"small": 0.33, "medium": 0.385, "big": 0.385},
}
"""Side of a thing as a share of the picture's width, by the number of things in the scene and its size word."""
JITTER = 0.05  # relative
CANDIDATES = 48  # layouts tried at a time: one numpy call is cheaper than a loop that stops early
ROUNDS = 2000  # the tightest scenes (three things, a relation) find one layout in 1,000


def lay_out(random: np.random.Generator, composition: Composition) -> tuple[Placed, ...]:
    """Place every thing.

    Args:
        random: Where the places come from.
        composition: What to place, three things at most.

    Returns:
        One entry per thing, in the order of the groups; centres and sides as shares of the picture's width.

    Raises:
        KeyError: More than three things, or an unknown size.
        RuntimeError: No layout was found in `ROUNDS` times `CANDIDATES` tries: the sides leave no room.
    """
    names = [group.concept for group in composition.groups for _ in range(group.count)]
    sides = _sides(random, composition)
    if len(names) == 1:
        centres = _uniform(random, sides, 1)[0]
    else:
        centres = _valid_centres(random, composition, sides)
    return tuple(
        Placed(name, float(x), float(y), float(side))
        for name, (x, y), side in zip(names, centres, sides, strict=True)
    )


def _sides(random: np.random.Generator, composition: Composition) -> NDArray[np.float64]:
    things = sum(group.count for group in composition.groups)
    exact = [SIDES[things][group.size] for group in composition.groups for _ in range(group.count)]
    return np.asarray(exact) * random.uniform(1 - JITTER, 1 + JITTER, len(exact))


def _uniform(random: np.random.Generator, sides: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """(number, things, 2) centres with every thing inside the picture."""
    half = sides[None, :, None] / 2
    return half + random.random((number, len(sides), 2)) * (1 - 2 * half)


def _valid_centres(
    random: np.random.Generator, composition: Composition, sides: NDArray[np.float64]
) -> NDArray[np.float64]:
    for _ in range(ROUNDS):
        centres = _uniform(random, sides, CANDIDATES)
        valid = _apart(centres, sides) & _obeys(centres, sides, composition)
        if valid.any():
            return np.asarray(centres[int(np.argmax(valid))])
    raise RuntimeError(f"no layout found for {composition}")  # the sides table leaves no room


def _apart(centres: NDArray[np.float64], sides: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(candidates,) no two boxes overlap by more than a tenth of their sides."""
    apart = np.ones(len(centres), dtype=bool)
    for first in range(len(sides)):
        for second in range(first + 1, len(sides)):
            distance = np.abs(centres[:, first] - centres[:, second]).max(axis=1)
            apart &= distance > 0.9 * (sides[first] + sides[second]) / 2
    return apart


def _obeys(
    centres: NDArray[np.float64], sides: NDArray[np.float64], composition: Composition
) -> NDArray[np.bool_]:
    """(candidates,) everything of the first group stands as said to everything of the second, and visibly so."""
    if composition.relation is None:
        return np.ones(len(centres), dtype=bool)
    border = composition.groups[0].count
    axis = 0 if composition.relation in ("left of", "right of") else 1
    along, across = centres[..., axis], centres[..., 1 - axis]
    if composition.relation in ("right of", "below"):
        along = -along
    gap = along[:, border:, None] - along[:, None, :border]  # (candidates, second, first)
    sideways = np.abs(across[:, border:, None] - across[:, None, :border])
    return np.asarray((gap.min(axis=(1, 2)) > 0.6 * sides.min()) & (gap > sideways).all(axis=(1, 2)))
