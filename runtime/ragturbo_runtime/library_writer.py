"""Writing a library folder, whole or not at all."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.errors import InvalidInputError, OutputError
from ragturbo_runtime.features import encode_int8, scale_of
from ragturbo_runtime.files import file_entry, replace_directory, sync_directory, sync_file
from ragturbo_runtime.index import build_scann_index
from ragturbo_runtime.library import FEATURES_FILE, KEYS_FILE, RECORDS_FILE, SCALE_FILE, SCANN_FOLDER
from ragturbo_runtime.manifest import LibraryPart
from ragturbo_runtime.spaces import Spaces, write_spaces

_PAGE_BYTES = 65_536
_ROWS_AT_ONCE = 256
_SCHEMA = (
    "CREATE TABLE records (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, caption TEXT NOT NULL, "
    "source TEXT NOT NULL, licence TEXT NOT NULL)",
    # Beside the records, not in them: a look-up of captions then reads no pictures.
    "CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, png BLOB NOT NULL)",
)


@dataclass(frozen=True)
class LibraryItem:
    """One picture to be written.

    Attributes:
        id: A stable name, unique in the library.
        caption: What the picture shows.
        thumbnail: A PNG file's bytes.
        source: Where it comes from.
        licence: Under which licence.
    """

    id: str
    caption: str
    thumbnail: bytes
    source: str = ""
    licence: str = ""


def write_library(
    directory: Path,
    items: Sequence[LibraryItem],
    keys: NDArray[Any],
    features: NDArray[Any],
    *,
    spaces: Spaces,
    with_scann: bool = True,
) -> LibraryPart:
    """Write a library folder beside its place, sync it and put it there: the old one or the new one is seen.

    Args:
        directory: The folder, directly inside the bundle; an existing one is replaced.
        items: N pictures.
        keys: (N, E) float unit vectors: ``text_embeds`` of the captions.
        features: (N, T, C) float, ``h`` of the pictures; a memory map is read in blocks.
        spaces: The encoders that made keys and features: a bundle of other encoders refuses the library.
        with_scann: Also build the ScaNN index.

    Returns:
        The manifest's ``library``: folder, count and the hash of every file.

    Raises:
        InvalidInputError: The numbers of items, keys and features differ, an id repeats, or a value is not
            finite.
        RetrievalError: ``with_scann`` is True and scann is not installed.
        OutputError: The folder cannot be written; the old one is still in its place.
    """
    _check(items, keys, features)
    _remove_abandoned(directory)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.partial")
    try:
        temporary.mkdir(parents=True)
        _write_arrays(temporary, keys, features)
        _write_records(temporary / RECORDS_FILE, items, spaces)
        if with_scann:
            build_scann_index(keys, temporary / SCANN_FOLDER)
        names = _sync(temporary)
        replace_directory(temporary, directory)
    except (OSError, sqlite3.Error) as exc:
        raise OutputError(
            f"{directory}: cannot be written ({exc})",
            path=directory,
            hint="choose a writable folder with room",
        ) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entries = tuple(file_entry(directory.parent, f"{directory.name}/{name}") for name in names)
    return LibraryPart(directory=directory.name, count=len(items), key_dtype="float16", files=entries)


def _check(items: Sequence[LibraryItem], keys: NDArray[Any], features: NDArray[Any]) -> None:
    if keys.ndim != 2 or features.ndim != 3 or not len(items) == len(keys) == len(features) > 0:
        raise InvalidInputError(
            f"{len(items)} items, keys {keys.shape}, features {features.shape}: "
            "expected N > 0, (N, E), (N, T, C)",
            argument="items",
        )
    if len({item.id for item in items}) != len(items):
        raise InvalidInputError("an id appears twice, expected unique ones", argument="items")
    if not np.isfinite(keys).all() or not np.isfinite(features).all():
        raise InvalidInputError("keys or features hold NaN or infinity", argument="features")


def _remove_abandoned(directory: Path) -> None:
    """Delete what writers of this library left that were killed; there is one writer at a time."""
    for folder in directory.parent.glob(f".{directory.name}.????????.partial"):
        shutil.rmtree(folder, ignore_errors=True)


def _write_arrays(directory: Path, keys: NDArray[Any], features: NDArray[Any]) -> None:
    keys.astype("<f2").tofile(directory / KEYS_FILE)
    scale = scale_of(features)
    scale.astype("<f4").tofile(directory / SCALE_FILE)
    with (directory / FEATURES_FILE).open("wb") as file:
        for start in range(0, len(features), _ROWS_AT_ONCE):
            file.write(encode_int8(features[start : start + _ROWS_AT_ONCE], scale).tobytes())


def _write_records(path: Path, items: Sequence[LibraryItem], spaces: Spaces) -> None:
    connection = sqlite3.connect(path)
    try:
        # A thumbnail of some kilobytes fills a quarter of a small page with nothing.
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        with connection:
            for statement in _SCHEMA:
                connection.execute(statement)
            write_spaces(connection, spaces)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
                ((row, i.id, i.caption, i.source, i.licence) for row, i in enumerate(items)),
            )
            connection.executemany(
                "INSERT INTO thumbnails VALUES (?, ?)", ((row, i.thumbnail) for row, i in enumerate(items))
            )
        connection.execute("VACUUM")
    finally:
        connection.close()


def _sync(directory: Path) -> list[str]:
    """Flush every file to the disk and return their names, forward slashes, in a stable order."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in paths:
        sync_file(path)
    for folder in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        sync_directory(folder)
    return [path.relative_to(directory).as_posix() for path in paths]
