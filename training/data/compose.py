"""Draws what a scene shows: which things, how many, how big, on what ground, in which relation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.scene import BACKGROUNDS, PLACES, RELATIONS, SIZES, Composition, Group, Relation, Size

ARRANGEMENTS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((1,), 0.38),
    ((2,), 0.08),
    ((3,), 0.04),
    ((1, 1), 0.34),
    ((1, 2), 0.05),
    ((2, 1), 0.05),
    ((1, 1, 1), 0.06),
)
"""Counts per group, with the chance of each."""
LIBRARY_ARRANGEMENTS: tuple[tuple[tuple[int, ...], float], ...] = (((1,), 0.7), ((1, 1), 0.2), ((1, 2), 0.1))
"""The library's: who makes one to show what things are called photographs most of them alone."""
PLACE_SHARE = 0.3
RELATION_SHARE = 0.6  # of the scenes with two groups

_BACKGROUND_NAMES = tuple(BACKGROUNDS)
_PLACE_NAMES = tuple(PLACES)


def compose(
    random: np.random.Generator,
    names: tuple[str, ...],
    cumulative: NDArray[np.float64],
    arrangements: tuple[tuple[tuple[int, ...], float], ...] = ARRANGEMENTS,
) -> Composition:
    """Draw a composition.

    Args:
        random: Where the choice comes from.
        names: The concepts to choose from. At least three must have a chance (`World` sees to it): this draws until it
            has found as many different ones as it needs.
        cumulative: (len(names),) float64, cumulative chance of each, ends at 1.
        arrangements: Counts per group, with the chance of each.

    Returns:
        One to three groups of three things in all at most, a background or a place, and perhaps a relation.
    """
    counts = arrangements[_pick(random, np.cumsum([chance for _, chance in arrangements]))][0]
    chosen = _choose_names(random, names, cumulative, len(counts))
    sizes = [_choose_size(random, sum(counts)) for _ in counts]
    groups = tuple(Group(name, count, size) for name, count, size in zip(chosen, counts, sizes, strict=True))
    in_place = random.random() < PLACE_SHARE
    background = None if in_place else _BACKGROUND_NAMES[random.integers(len(_BACKGROUND_NAMES))]
    place = _PLACE_NAMES[random.integers(len(_PLACE_NAMES))] if in_place else None
    return Composition(groups, background, place, _choose_relation(random, len(groups)))


def _pick(random: np.random.Generator, cumulative: NDArray[np.float64]) -> int:
    return min(int(np.searchsorted(cumulative, random.random())), len(cumulative) - 1)


def _choose_names(
    random: np.random.Generator, names: tuple[str, ...], cumulative: NDArray[np.float64], number: int
) -> list[str]:
    chosen: list[str] = []
    while len(chosen) < number:
        name = names[_pick(random, cumulative)]
        if name not in chosen:
            chosen.append(name)
    return chosen


def _choose_size(random: np.random.Generator, things: int) -> Size:
    """Big things only where there is room: two bigs and three of any size do not fit."""
    if things == 3:
        return "small" if random.random() < 0.2 else "medium"
    if things == 2:
        return "small" if random.random() < 0.25 else "medium"
    return SIZES[int(random.integers(3))]


def _choose_relation(random: np.random.Generator, groups: int) -> Relation | None:
    if groups == 2 and random.random() < RELATION_SHARE:
        return RELATIONS[int(random.integers(4))]
    return None
