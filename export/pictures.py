"""Where a library's pictures come from: the family's own generated split, or a folder of pictures.

A folder is in the layout of Hugging Face's imagefolder: pictures, and a ``metadata.csv`` or ``metadata.jsonl``
with the columns ``file_name`` and ``text`` (or ``caption``), and optionally ``source`` and ``licence`` (or
``license``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.errors import ExportError
from export.picture_metadata import read_rows
from training.data.render import draw
from training.data.splits import scene
from training.data.world import parse_world
from training.family.folder import Family

Pixels = NDArray[np.uint8]
GENERATED_SOURCE = "generated scene of Noto Color Emoji"
GENERATED_LICENCE = "Apache-2.0"
_COLUMNS = {"caption": ("text", "caption"), "licence": ("licence", "license"), "source": ("source",)}


@dataclass(frozen=True)
class Entry:
    """One captioned picture, not yet loaded.

    Attributes:
        id: A stable name, unique in the library.
        caption: What it shows.
        source: Where it comes from.
        licence: Under which licence.
        load: Returns (H, W, 3) uint8 of the family's resolution.
    """

    id: str
    caption: str
    source: str
    licence: str
    load: Callable[[], Pixels]


def has_generator(family: Family) -> bool:
    """Whether family.json says how to make a library."""
    return "library" in family.settings


def generated_entries(family: Family) -> list[Entry]:
    """List the scenes that the family's own library consists of.

    Args:
        family: Its family.json holds ``library`` (generator, split, count) and the world under ``config``.

    Returns:
        ``count`` entries.

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
            "give --library FOLDER, or --library none"
        ) from error
    if generator != "emoji":
        raise ExportError(f"{family.path / 'family.json'}: library generator {generator!r}; known is 'emoji'")

    def load(index: int) -> Pixels:
        return draw(scene(world, split, index), family.resolution)

    return [
        Entry(
            f"{split}-{index:06d}",
            scene(world, split, index).caption,
            GENERATED_SOURCE,
            GENERATED_LICENCE,
            partial(load, index),
        )
        for index in range(count)
    ]


def folder_entries(folder: Path, resolution: int) -> list[Entry]:
    """List the pictures of a folder.

    Args:
        folder: Pictures and a metadata.csv or metadata.jsonl.
        resolution: Side in pixels to which pictures are cut (the middle square) and scaled.

    Returns:
        One entry per line of the metadata.

    Raises:
        ExportError: The folder, its metadata, a column or a picture is missing, or a caption is empty.
    """
    entries = [_entry(folder, place, row, resolution) for place, row in read_rows(folder)]
    if not entries:
        raise ExportError(
            f"{folder}: its metadata lists no picture; give --library none for a bundle without"
        )
    if len({entry.id for entry in entries}) != len(entries):
        raise ExportError(f"{folder}: its metadata lists a file_name twice")
    return entries


def _entry(folder: Path, place: str, row: dict[str, Any], resolution: int) -> Entry:
    values = {
        field: next((str(row[name]).strip() for name in names if row.get(name)), "")
        for field, names in _COLUMNS.items()
    }
    name = str(row.get("file_name") or "")
    if not name or not values["caption"]:
        raise ExportError(f"{place}: needs file_name and text, has {sorted(key for key in row if row[key])}")
    load = partial(_load, _inside(folder, name, place), place, resolution)
    return Entry(name, values["caption"], values["source"], values["licence"] or "unknown", load)


def _inside(folder: Path, name: str, place: str) -> Path:
    """The picture's path, links followed; a list that someone else wrote must not name files elsewhere."""
    try:
        path = (folder / name).resolve()
        found = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a NUL
        found = False
    if not found:
        raise ExportError(
            f"{place}: {name}: no such picture inside {folder}; put it there, or take the row out"
        )
    return path


def _load(path: Path, place: str, resolution: int) -> Pixels:
    """Read a picture, cut its middle square, and scale it."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    # Of a damaged file Pillow's decoders raise what comes: SyntaxError, struct.error, DecompressionBombError.
    except Exception as error:
        raise ExportError(
            f"{place}: {path}: not a picture that can be read ({error}); "
            "make it smaller or save it as PNG, or take the row out"
        ) from error
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    # Cut first: resize(box=...) would filter in pixels from outside the box.
    square = picture.crop((left, top, left + side, top + side))
    square = square.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(square, dtype=np.uint8)
