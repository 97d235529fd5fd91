"""Checking every byte of a library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index.cache import load_index, read_index_info
from ragturbo_runtime.index.kinds import is_installed
from ragturbo_runtime.library.database import checksum, open_for_reading, read_layout, transaction
from ragturbo_runtime.library.layout import RECORDS_FILE, Layout
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.rows_file import map_rows

_SELECT = (
    "SELECT row, id, caption, source, licence, crc, png FROM records LEFT JOIN thumbnails USING (row) "
    "ORDER BY row"
)


@dataclass(frozen=True)
class LibraryProblem:
    """Something that is wrong.

    Attributes:
        path: The file.
        what: What was found.
        cure: What to do.
        id: The reference that is concerned, or None.
    """

    path: Path
    what: str
    cure: str
    id: str | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}: {self.what}; {self.cure}"


def verify_library(directory: Path) -> Iterator[LibraryProblem]:
    """Look at everything that is in a library; it stays as it is.

    Args:
        directory: Its folder.

    Yields:
        What is wrong: nothing, in a whole library.
    """
    try:
        with closing(open_for_reading(directory)) as records:
            layout, problems = _check_one_state(records, directory)
            yield from problems
    except RetrievalError as exc:
        yield LibraryProblem(directory, exc.message, exc.hint or "build it again")
        return
    except sqlite3.Error as exc:
        yield LibraryProblem(
            directory / RECORDS_FILE, f"damaged ({exc})", "take it from a copy, or build the library again"
        )
        return
    yield from _check_index(directory, layout)


def _check_one_state(records: sqlite3.Connection, directory: Path) -> tuple[Layout, list[LibraryProblem]]:
    """Check what the records say at one moment; a compaction meanwhile deletes the files of that, so again."""
    while True:
        with transaction(records, "DEFERRED"):
            layout = read_layout(records, directory)
            try:
                return layout, list(_check_records(records, directory, layout))
            except RetrievalError as exc:
                problem = exc
        if read_layout(records, directory).generation == layout.generation:
            raise problem


def _check_records(records: sqlite3.Connection, directory: Path, layout: Layout) -> Iterator[LibraryProblem]:
    path, cure = directory / RECORDS_FILE, "take it from a copy, or build the library again"
    for (line,) in records.execute("PRAGMA integrity_check(10)"):
        if line != "ok":
            yield LibraryProblem(path, str(line), cure)
    removed = {row for (row,) in records.execute("SELECT row FROM removed")}
    keys = map_rows(directory / layout.keys_file, layout.key_row, layout.rows, at_random=False)
    features = map_rows(directory / layout.features_file, layout.feature_row, layout.rows, at_random=False)
    seen = set()
    for values in records.execute(_SELECT):
        seen.add(values[0])
        yield from _check_record(values, path, keys, features)
    lost = set(range(layout.rows)) - seen - removed
    if lost or seen & removed:
        yield LibraryProblem(
            path, f"{len(lost)} rows without record, {len(seen & removed)} both there and removed", cure
        )


def _check_record(
    values: tuple[Any, ...], path: Path, keys: NDArray[Any], features: NDArray[Any]
) -> Iterator[LibraryProblem]:
    row, name, caption, source, licence, crc, png = values
    cure = f"remove {name!r} and add its picture again"
    texts = all(isinstance(text, str) for text in (name, caption, source, licence))
    if not texts or not isinstance(png, bytes) or not isinstance(row, int) or not 0 <= row < len(keys):
        yield LibraryProblem(path, f"record {name!r} is damaged: row {row}, of {len(keys)}", cure, str(name))
        return
    item = LibraryItem(name, caption, png, source, licence)
    if checksum(item, keys[row].tobytes(), features[row].tobytes()) != crc:
        what = f"{name!r}: its texts, picture, key or features are not those that were written (row {row})"
        yield LibraryProblem(path.parent, what, cure, name)


def _check_index(directory: Path, layout: Layout) -> Iterator[LibraryProblem]:
    if not layout.indexed:
        return
    try:
        info = read_index_info(directory, layout)
        if is_installed(info.kind):
            load_index(directory / layout.index_folder, info)
    except RetrievalError as exc:
        yield LibraryProblem(
            directory / layout.index_folder, exc.message, "ragturbo library compact builds the index again"
        )
