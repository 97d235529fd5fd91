"""Where a library's pictures come from: the family's own generated split, or a collection of the user's."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from ragturbo_runtime.collection.entry import Entry, SkippedPicture
from ragturbo_runtime.collection.opening import open_collection
from training.data.render import draw
from training.data.splits import scene
from training.data.world import parse_world
from training.family.folder import Family

GENERATED_SOURCE = "generated scene of Noto Color Emoji"
GENERATED_LICENCE = "Apache-2.0"
_logger = logging.getLogger(__name__)


def has_generator(family: Family) -> bool:
    """Whether family.json says how to make a library."""
    return "library" in family.settings


def generated_entries(family: Family) -> list[Entry]:
    """List the scenes that the family's own library consists of.

    Args:
        family: Its family.json holds ``library`` (generator, split, count) and the world under ``config``.

    Returns:
        ``count`` entries, drawn at the side that is asked for.

    Raises:
        ExportError: family.json names another generator, or lacks a part.
    """
    try:
        library = family.settings["library"]
        generator, split, count = library["generator"], library["split"], int(library["count"])
        world = parse_world(family.settings["config"]["world"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{family.path / 'family.json'}: no usable library in it ({error!r}); "
            "give --library PATH, or --library none"
        ) from error
    if generator != "emoji":
        raise ExportError(f"{family.path / 'family.json'}: library generator {generator!r}; known is 'emoji'")

    def read(index: int, side: int) -> NDArray[np.uint8]:
        return draw(scene(world, split, index), side)

    return [
        Entry(
            f"{split}-{index:06d}",
            scene(world, split, index).caption,
            GENERATED_SOURCE,
            GENERATED_LICENCE,
            partial(read, index),
        )
        for index in range(count)
    ]


def collected_entries(path: Path) -> list[Entry]:
    """List the pictures of a collection, and warn of each that is left out.

    Args:
        path: What `ragturbo_runtime.collection.opening.open_collection` opens.

    Returns:
        One entry for each picture that can be used, at least one.

    Raises:
        ExportError: There is none.
        InvalidInputError: It is no collection, or its list is damaged.
    """
    collection = open_collection(path)
    for skipped in collection.skipped:
        _logger.warning("left out: %s", skipped)
    if not collection.entries:
        raise ExportError(_none_left(path, collection.skipped))
    return collection.entries


def _none_left(path: Path, skipped: list[SkippedPicture]) -> str:
    way_out = "give --library none for a bundle without"
    if not skipped:
        return f"{path}: lists no picture; {way_out}"
    return f"{path}: none of its {len(skipped)} pictures can be used (the first: {skipped[0]}); {way_out}"
