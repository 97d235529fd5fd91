"""Where a library's pictures come from: the family's own generated split, or a folder of pictures.

A folder is in the layout of Hugging Face's imagefolder: pictures, and a ``metadata.csv`` or ``metadata.jsonl``
with the columns ``file_name`` and ``text`` (or ``caption``), and optionally ``source`` and ``licence`` (or
``license``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from export.errors import ExportError
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
    entries = [_entry(folder, place, row, resolution) for place, row in _rows(folder)]
    if not entries:
        raise ExportError(
            f"{folder}: its metadata lists no picture; give --library none for a bundle without"
        )
    if len({entry.id for entry in entries}) != len(entries):
        raise ExportError(f"{folder}: its metadata lists a file_name twice")
    return entries


def _rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of the metadata, and where it stands."""
    table, lines = folder / "metadata.csv", folder / "metadata.jsonl"
    if table.is_file():
        with table.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield f"{table}:{number}", row
    elif lines.is_file():
        for number, line in enumerate(lines.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                yield f"{lines}:{number}", _json_row(line, f"{lines}:{number}")
    else:
        raise ExportError(
            f"{folder}: no metadata.csv and no metadata.jsonl in it; list the pictures there, "
            "with the columns file_name and text"
        )


def _json_row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ExportError(f"{place}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ExportError(f"{place}: expected a JSON object, found {type(row).__name__}")
    return row


def _entry(folder: Path, place: str, row: dict[str, Any], resolution: int) -> Entry:
    values = {
        field: next((str(row[name]).strip() for name in names if row.get(name)), "")
        for field, names in _COLUMNS.items()
    }
    name = str(row.get("file_name") or "")
    if not name or not values["caption"]:
        raise ExportError(f"{place}: needs file_name and text, has {sorted(key for key in row if row[key])}")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ExportError(f"{place}: {name}: no such picture inside {folder}")
    load = partial(_load, path, resolution)
    return Entry(name, values["caption"], values["source"], values["licence"] or "unknown", load)


def _load(path: Path, resolution: int) -> Pixels:
    """Read a picture, cut its middle square, and scale it."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ExportError(f"{path}: not a picture that can be read ({error})") from error
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    # Cut first: resize(box=...) would filter in pixels from outside the box.
    square = picture.crop((left, top, left + side, top + side))
    square = square.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(square, dtype=np.uint8)
