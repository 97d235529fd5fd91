"""The reference library: what retrieval looks in, while others add to it.

Files in the folder: ``records.sqlite`` (captions, sources, licences, thumbnails, and what the rest is), ``keys-*`` (one
key per row), ``features-*`` ((T, C) per row) and, as a rebuildable cache, ``index-*/``. Arrays are raw and
little-endian.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys, Scale
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index.cache import open_index
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.library.database import (
    data_version,
    needs_recovery,
    open_for_reading,
    read_layout,
    recover,
    transaction,
    unreadable,
)
from ragturbo_runtime.library.key_rows import decode_keys
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.record import Record, Reference
from ragturbo_runtime.library.rows_file import map_rows
from ragturbo_runtime.library.view import LibraryView
from ragturbo_runtime.spaces import Spaces

_T = TypeVar("_T")
_TRIES = 5
"""A writer that compacts again and again between two of our reads is no writer of ours."""
_SELECT = "SELECT row, id, caption, source, licence FROM records WHERE row IN ({})"
_VALUES = 500
"""SQLite allows 999 in one query."""
_CHANGED = "the library was changed while it was read"


class Library:
    """An opened library. Several threads may use it at once, while another thread or process changes it.

    Attributes:
        directory: Its folder.
    """

    def __init__(self, directory: Path) -> None:
        """Open the files.

        Args:
            directory: The library folder.

        Raises:
            RetrievalError: A file is missing or damaged, or the sizes do not fit together.
        """
        self.directory = directory
        self._lock = threading.Lock()
        self._closed = False
        self._records = open_for_reading(directory)
        try:
            self._version = data_version(self._records)
            self._view = self._take(None)
        except BaseException as exc:
            self._records.close()
            if isinstance(exc, sqlite3.Error):
                raise unreadable(directory, exc) from exc
            raise

    @property
    def view(self) -> LibraryView:
        """The library as it is now.

        Raises:
            RetrievalError: The library was closed or cannot be read.
        """
        return self._locked(self._current)

    @property
    def count(self) -> int:
        """N references."""
        return self._view.count

    @property
    def embed_dim(self) -> int:
        """E of the keys."""
        return self._view.layout.embed_dim

    @property
    def tokens(self) -> int:
        """T of the features."""
        return self._view.layout.tokens

    @property
    def channels(self) -> int:
        """C of the features."""
        return self._view.layout.channels

    @property
    def scale(self) -> Scale:
        """(C,) float32, what stored features are to be multiplied by."""
        return self._view.layout.scale

    @property
    def spaces(self) -> Spaces | None:
        """The encoders that keys and features come from; None if the records do not say."""
        return self._view.layout.spaces

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest references of every query, in the library as it is now: see `LibraryView.search`."""
        return self.view.search(queries, k)

    def features(self, rows: Sequence[int] | NDArray[np.int64]) -> Array:
        """Read the features of some references, of the library as it is now: see `LibraryView.features`."""
        return self.view.features(rows)

    def records(
        self, rows: Sequence[int] | NDArray[np.int64], view: LibraryView | None = None
    ) -> list[Record]:
        """Look up what is known about some references.

        Args:
            rows: K row numbers.
            view: Where they are from; None: the library as it is now.

        Returns:
            K records, in the order of ``rows``.

        Raises:
            RetrievalError: A row is out of range or was removed, or the library was closed.
            StaleViewError: The rows have other numbers since.
        """
        wanted = [int(row) for row in rows]
        parts = [wanted[start : start + _VALUES] for start in range(0, len(wanted), _VALUES)]
        queries = [(_SELECT.format(",".join("?" * len(part))), part) for part in parts]

        def read() -> list[tuple[Any, ...]]:
            with transaction(self._records, "DEFERRED"):
                if (
                    view is not None
                    and read_layout(self._records, self.directory).generation != view.layout.generation
                ):
                    raise StaleViewError(_CHANGED)
                return [found for some in queries for found in self._records.execute(*some).fetchall()]

        found = {values[0]: Record(*values) for values in self._locked(read)}
        if missing := [row for row in wanted if row not in found]:
            message = f"rows {missing}: not in the library, which has 0 to {self._view.layout.rows - 1}"
            raise RetrievalError(message) if view is None else StaleViewError(message)
        return [found[row] for row in wanted]

    def consistent(self, read: Callable[[LibraryView], _T]) -> _T:
        """Read several things of one state.

        Args:
            read: Gets a view; it is called again if the library was changed under it.

        Returns:
            What it returned.

        Raises:
            RetrievalError: The library was closed, or cannot be read.
        """
        for _ in range(_TRIES):
            try:
                return read(self.view)
            except StaleViewError:
                continue
        raise RetrievalError(f"{self.directory}: {_CHANGED}, {_TRIES} times", hint="try again")

    def references(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        similarities: NDArray[np.float32],
        weights: NDArray[np.float32],
        view: LibraryView | None = None,
    ) -> list[Reference]:
        """Join records with how they were used.

        Args:
            rows: K row numbers.
            similarities: (K,) cosines.
            weights: (K,) lambdas.
            view: As for ``records``.

        Returns:
            K references, in the order of ``rows``.

        Raises:
            RetrievalError: As ``records``.
        """
        return [
            Reference(
                r.id, r.row, r.caption, float(cosine), float(weight), r.source, r.licence, self.thumbnail
            )
            for r, cosine, weight in zip(self.records(rows, view), similarities, weights, strict=True)
        ]

    def thumbnail(self, id: str) -> bytes:
        """Return the picture of a reference.

        Args:
            id: Its name.

        Returns:
            A PNG file's bytes.

        Raises:
            StaleViewError: There is no such reference, or there is none any more.
            RetrievalError: The library was closed, or cannot be read.
        """
        query = "SELECT png FROM thumbnails JOIN records USING (row) WHERE id = ?"
        found = self._locked(lambda: self._records.execute(query, [id]).fetchone())
        if found is None:
            raise StaleViewError(f"{id!r}: not in the library", hint="it may have been removed since")
        return bytes(found[0])

    def any_caption(self) -> str:
        """Return what one of the references shows; nothing where there is none.

        Raises:
            RetrievalError: The library was closed, or cannot be read.
        """
        found = self._locked(lambda: self._records.execute("SELECT caption FROM records LIMIT 1").fetchone())
        return "" if found is None else str(found[0])

    def close(self) -> None:
        """Close the records. Features that were read stay valid; further look-ups raise."""
        with self._lock:
            self._closed = True
            self._records.close()

    def _locked(self, read: Callable[[], _T]) -> _T:
        try:
            with self._lock:
                if self._closed:
                    raise RetrievalError(f"{self.directory}: the library was closed", hint="open it again")
                try:
                    return read()
                except sqlite3.Error as exc:
                    if not needs_recovery(exc):
                        raise
                    recover(self.directory)
                    return read()
        except sqlite3.Error as exc:
            raise unreadable(self.directory, exc) from exc

    def _current(self) -> LibraryView:
        """The view, taken anew if someone has changed the records."""
        version = data_version(self._records)
        if version != self._version:
            self._view, self._version = self._take(self._view), version
        return self._view

    def _take(self, before: LibraryView | None) -> LibraryView:
        """Read the records and map what they count; a compaction in between has deleted the files, so again."""
        for _ in range(_TRIES):
            with transaction(self._records, "DEFERRED"):
                layout = read_layout(self._records, self.directory)
                alive = _alive(self._records, layout.rows)
            try:
                return _view(self.directory, layout, alive, before)
            except RetrievalError:
                if read_layout(self._records, self.directory).generation == layout.generation:
                    raise
        raise RetrievalError(f"{self.directory}: {_CHANGED}, {_TRIES} times", hint="try again")


class StaleViewError(RetrievalError):
    """Rows of a view are not in the library any more; take another view and search again."""


def _alive(records: sqlite3.Connection, rows: int) -> NDArray[np.bool_] | None:
    removed = [row for (row,) in records.execute("SELECT row FROM removed") if 0 <= row < rows]
    if not removed:
        return None
    alive = np.ones(rows, np.bool_)
    alive[removed] = False
    return alive


def _view(
    directory: Path, layout: Layout, alive: NDArray[np.bool_] | None, before: LibraryView | None
) -> LibraryView:
    """Map the rows, and keep of an earlier view what is the same."""
    keys = map_rows(directory / layout.keys_file, layout.key_row, layout.rows, at_random=False)
    features = map_rows(directory / layout.features_file, layout.feature_row, layout.rows, at_random=True)
    same = before is not None and before.layout.files == layout.files and before.layout.rows <= layout.rows
    if before is not None and same and (before.indexed is not None or not layout.indexed):
        known = before.layout.rows
        rest = before.rest if known == layout.rows else before.rest.extended(decode_keys(keys[known:]))
        return LibraryView(layout, keys, features, alive, before.indexed, rest)
    indexed = open_index(directory, layout, keys)
    rest = ExactIndex(decode_keys(keys[0 if indexed is None else indexed.count :]))
    return LibraryView(layout, keys, features, alive, indexed, rest)
