"""Reads a folder of pictures with a list, in the layout of Hugging Face's imagefolder.

The list is a ``metadata.csv`` or ``metadata.jsonl`` with the columns ``file_name`` and ``text`` (or ``caption``), and
optionally ``source``, ``licence`` (or ``license``) and ``id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ragturbo_runtime.collection.description import claim, describe, read_text
from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture, printable
from ragturbo_runtime.collection.metadata import read_rows
from ragturbo_runtime.collection.picture import read_picture


def folder_entries(folder: Path) -> Iterator[Entry | SkippedPicture]:
    """List the pictures of a folder.

    Args:
        folder: Pictures and a metadata.csv or metadata.jsonl.

    Yields:
        What each row of the list names. Skipped: a row without a file name or caption, with a file that is not there
        or lies outside the folder, or with an id that came before. The default id is the file name.

    Raises:
        InvalidInputError: The list is missing or damaged.
    """
    root, taken = folder.resolve(), dict[str, str]()
    for place, row in read_rows(folder):
        try:
            entry = _entry(root, place, row)
            claim(taken, entry.id, place)
        except PictureError as error:
            yield SkippedPicture(
                printable(f"{place}: {row.get('file_name') or 'no file_name'}"), error.message
            )
        else:
            yield entry


def _entry(root: Path, place: str, row: Mapping[str, Any]) -> Entry:
    name = read_text("file_name", row.get("file_name"))
    if not name.strip():
        raise PictureError("needs a file_name")
    about = describe(row, default_id=name)
    read = partial(read_picture, _inside(root, name), name=printable(f"{place}: {name}"))
    return Entry(about.id, about.caption, about.source, about.licence, read)


def _inside(root: Path, name: str) -> Path:
    """The picture's path, links followed; a list that someone else wrote must not name files elsewhere."""
    try:
        path = (root / name).resolve()
        inside, found = path.is_relative_to(root), path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a NUL
        inside, found = True, False
    if not inside:
        raise PictureError("lies outside the folder of the list; put the picture into it")
    if not found:
        raise PictureError(f"no such picture inside {root}; put it there, or take the row out")
    return path
