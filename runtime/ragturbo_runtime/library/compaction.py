"""Freeing the room of removed pictures, and building the index anew.

New files are made beside the old ones, under the names of another generation; one transaction of the records then
numbers the rows anew and names those files. Readers keep what they have mapped, and take the new files at their next
search.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.files import sync_directory
from ragturbo_runtime.index.cache import EXACT_BELOW, IndexInfo, build_index
from ragturbo_runtime.library.database import transaction, write_layout
from ragturbo_runtime.library.layout import RECORDS_FILE, Layout
from ragturbo_runtime.library.rows_file import map_rows
from ragturbo_runtime.library.writer import LibraryWriter

logger: logging.Logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 26


def compact(writer: LibraryWriter, *, index_at_least: int = EXACT_BELOW) -> IndexInfo | None:
    """Drop removed rows, if there are any, and build an index of all that stay.

    Args:
        writer: Of the library.
        index_at_least: Pictures that an index is built for.

    Returns:
        What is known of the index; None where exact search is as good, or there is no ScaNN.

    Raises:
        RetrievalError: The files are shorter than the records say.
        OutputError: The disk is full; the library is as it was.
    """
    before = writer.layout
    with writer.changing():
        remove_leftovers(writer.directory, before)
        kept = [row for (row,) in writer.records.execute("SELECT row FROM records ORDER BY row")]
        if len(kept) == before.rows:
            after = replace(before, indexed=before.rows, version=before.version + 1)
        else:
            after = replace(
                before,
                generation=before.generation + 1,
                rows=len(kept),
                indexed=len(kept),
                version=before.version + 1,
            )
            _copy_rows(writer.directory, before, after, np.array(kept, np.int64))
        keys = map_rows(writer.directory / after.keys_file, after.key_row, after.rows, at_random=False)
        info = build_index(writer.directory, after, keys, at_least=index_at_least)
        after = replace(after, indexed=0 if info is None else info.count)
        with transaction(writer.records):
            if after.generation != before.generation:
                _renumber(writer.records, kept)
            write_layout(writer.records, after)
        writer.layout = after
        remove_leftovers(writer.directory, after)
    if after.generation != before.generation:
        try:
            writer.records.execute("VACUUM")
        except sqlite3.Error as exc:  # what was compacted is compacted; only the records keep their room
            logger.warning("%s: the records keep their size: %s", writer.directory, exc)
    return info


def remove_leftovers(directory: Path, layout: Layout) -> None:
    """Delete the files of other generations, and what was left by writers that were killed.

    Args:
        directory: The library's folder; the caller is its writer.
        layout: What counts.
    """
    keep = {layout.keys_file, layout.features_file, layout.index_folder}
    for pattern in ("keys-*", "features-*", "index-*", ".index-*.partial", f".{RECORDS_FILE}.*.partial*"):
        for path in directory.glob(pattern):
            if path.name not in keep:
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(
            OSError
        ):  # Windows keeps what a reader has mapped; the next compaction deletes it
            path.unlink()


def _copy_rows(directory: Path, before: Layout, after: Layout, kept: NDArray[np.int64]) -> None:
    files = (
        (before.keys_file, after.keys_file, before.key_row),
        (before.features_file, after.features_file, before.feature_row),
    )
    for old, new, row in files:
        rows = map_rows(directory / old, row, before.rows, at_random=False)
        _write_rows(directory / new, rows, kept)
    sync_directory(directory)


def _write_rows(path: Path, rows: NDArray[Any], kept: NDArray[np.int64]) -> None:
    at_once = max(
        1, _BLOCK_BYTES // max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64)))
    )
    with path.open("wb") as file:
        for start in range(0, len(kept), at_once):
            file.write(np.ascontiguousarray(rows[kept[start : start + at_once]]).tobytes())
        file.flush()
        os.fsync(file.fileno())


def _renumber(records: sqlite3.Connection, kept: list[int]) -> None:
    """Give the rows their new numbers; in rising order no two ever have the same."""
    moved = [(new, old) for new, old in enumerate(kept) if new != old]
    records.executemany("UPDATE records SET row = ? WHERE row = ?", moved)
    records.executemany("UPDATE thumbnails SET row = ? WHERE row = ?", moved)
    records.execute("DELETE FROM removed")
