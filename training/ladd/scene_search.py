"""Goes through the training scenes for those that a set of pairs wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from training.data.splits import scene

if TYPE_CHECKING:
    from training.data.scene import Scene
    from training.data.world import World

TRIED = 20
"""Scenes looked at per scene that is wanted."""


def find_scenes(
    world: World, first: int, count: int, *, wanted: Callable[[Scene], bool], what: str, way_out: str
) -> tuple[Scene, ...]:
    """Find the first training scenes that are wanted.

    Args:
        world: The family's.
        first: Index of the first scene to look at.
        count: Scenes to find.
        wanted: Called with each scene in turn.
        what: What they are called where there are too few.
        way_out: What to do then.

    Raises:
        ValueError: Too few are found.
    """
    found: list[Scene] = []
    for index in range(first, first + TRIED * count):
        if len(found) == count:
            break
        one = scene(world, "train", index)
        if wanted(one):
            found.append(one)
    if len(found) < count:
        raise ValueError(
            f"{TRIED * count} scenes gave {len(found)} of the {count} {what} that are needed; {way_out}"
        )
    return tuple(found)
