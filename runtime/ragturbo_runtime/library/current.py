"""The newest state of a library: taken again when somebody has changed it, and cheaply, for searches wait for it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index.cache import open_index
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.library.database import data_version, read_layout, read_numbers, transaction
from ragturbo_runtime.library.key_rows import decode_keys
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.rows_file import RowsFile
from ragturbo_runtime.library.shared_records import SharedRecords
from ragturbo_runtime.library.view import LibraryView

TRIES = 5
"""A writer that compacts again and again between two of our reads is no writer of ours."""
CHANGED = "the library was changed while it was read"


class CurrentView:
    """Gives the view of now. It has a connection of its own: whoever reads captions does not hold a search up."""

    def __init__(self, directory: Path) -> None:
        """Take the first view.

        Args:
            directory: The library's folder.

        Raises:
            RetrievalError: A file is missing or damaged, or the sizes do not fit together.
        """
        self._directory = directory
        self._records = SharedRecords(directory)
        try:
            self._version = self._records.read(data_version)
            self.last: LibraryView = self._records.read(lambda records: self._take(records, None))
        except BaseException:
            self._records.close()
            raise

    def get(self) -> LibraryView:
        """The library as it is now.

        Raises:
            RetrievalError: The library was closed or cannot be read.
        """
        return self._records.read(self._newest)

    def close(self) -> None:
        """Close the connection; views that were given stay valid."""
        self._records.close()

    def _newest(self, records: sqlite3.Connection) -> LibraryView:
        version = data_version(records)
        if version != self._version:
            self.last, self._version = self._take(records, self.last), version
        return self.last

    def _take(self, records: sqlite3.Connection, before: LibraryView | None) -> LibraryView:
        """Read the records and map what they count; a compaction in between has deleted the files, so again."""
        for _ in range(TRIES):
            with transaction(records, "DEFERRED"):
                layout = _layout(records, self._directory, before)
                alive = _alive(records, layout, before)
            try:
                return _view(self._directory, layout, alive, before)
            except RetrievalError:
                if read_layout(records, self._directory).generation == layout.generation:
                    raise
        raise RetrievalError(f"{self._directory}: {CHANGED}, {TRIES} times", hint="try again")


def _layout(records: sqlite3.Connection, directory: Path, before: LibraryView | None) -> Layout:
    """Read the layout: of a known generation only what can have changed."""
    if before is None:
        return read_layout(records, directory)
    generation, rows, indexed, version = read_numbers(records, directory)
    if generation != before.layout.generation or rows < before.layout.rows:
        return read_layout(records, directory)
    return replace(before.layout, rows=rows, indexed=indexed, version=version)


def _alive(
    records: sqlite3.Connection, layout: Layout, before: LibraryView | None
) -> NDArray[np.bool_] | None:
    """Say which rows are pictures; rows are only ever added to those that were removed."""
    (count,) = records.execute("SELECT count(*) FROM removed").fetchone()
    if not count:
        return None
    if before is not None and before.layout.generation == layout.generation and before.removed == count:
        return before.alive_with(layout.rows - before.layout.rows)
    removed = [row for (row,) in records.execute("SELECT row FROM removed") if 0 <= row < layout.rows]
    alive = np.ones(layout.rows, np.bool_)
    alive[removed] = False
    return alive


def _view(
    directory: Path, layout: Layout, alive: NDArray[np.bool_] | None, before: LibraryView | None
) -> LibraryView:
    """Open what is new, and keep of an earlier view what is the same."""
    if before is not None and before.layout.files == layout.files and before.layout.rows <= layout.rows:
        if before.indexed is not None or not layout.indexed:  # an index that could not be read is tried again
            return _grown(before, layout, alive)
    keys_file = RowsFile(directory / layout.keys_file, layout.key_row, layout.rows, at_random=False)
    features_file = RowsFile(
        directory / layout.features_file, layout.feature_row, layout.rows, at_random=True
    )
    keys = keys_file.first(layout.rows)
    indexed = open_index(directory, layout, keys)
    rest = ExactIndex(decode_keys(keys[0 if indexed is None else indexed.count :]))
    return LibraryView(layout, keys_file, features_file, alive, indexed, rest)


def _grown(before: LibraryView, layout: Layout, alive: NDArray[np.bool_] | None) -> LibraryView:
    """Add the rows that are new."""
    known, rest = before.layout.rows, before.rest
    if known < layout.rows:
        rest = rest.extended(decode_keys(before.keys_file.between(known, layout.rows)))
    return replace(before, layout=layout, alive=alive, rest=rest)
