"""The reference library: what retrieval looks in, while others add to it.

Files in the folder: ``records.sqlite`` (captions, sources, licences, thumbnails, and what the rest is), ``keys-*`` (one
key per row), ``features-*`` ((T, C) per row) and, as a rebuildable cache, ``index-*/``. Arrays are raw and
little-endian.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys, Scale
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.current import CHANGED, TRIES, CurrentView
from ragturbo_runtime.library.database import HINT, VALUES_AT_ONCE, read_numbers, transaction
from ragturbo_runtime.library.record import Record, Reference
from ragturbo_runtime.library.shared_records import SharedRecords
from ragturbo_runtime.library.view import LibraryView
from ragturbo_runtime.spaces import Spaces

_T = TypeVar("_T")
_SELECT = "SELECT row, id, caption, source, licence FROM records WHERE row IN ({})"
_ANY = "SELECT caption FROM records LIMIT 1"


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
        self._records = SharedRecords(directory)
        try:
            self._current = CurrentView(directory)
        except BaseException:
            self._records.close()
            raise

    @property
    def view(self) -> LibraryView:
        """The library as it is now.

        Raises:
            RetrievalError: The library was closed or cannot be read.
        """
        return self._current.get()

    @property
    def count(self) -> int:
        """N references, now."""
        return self.view.count

    @property
    def embed_dim(self) -> int:
        """E of the keys."""
        return self._current.last.layout.embed_dim

    @property
    def tokens(self) -> int:
        """T of the features."""
        return self._current.last.layout.tokens

    @property
    def channels(self) -> int:
        """C of the features."""
        return self._current.last.layout.channels

    @property
    def scale(self) -> Scale:
        """(C,) float32, what stored features are to be multiplied by."""
        return self._current.last.layout.scale

    @property
    def spaces(self) -> Spaces | None:
        """The encoders that keys and features come from; None if the records do not say."""
        return self._current.last.layout.spaces

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
        parts = [wanted[start : start + VALUES_AT_ONCE] for start in range(0, len(wanted), VALUES_AT_ONCE)]
        queries = [(_SELECT.format(",".join("?" * len(part))), part) for part in parts]

        def read(records: sqlite3.Connection) -> list[tuple[Any, ...]]:
            if view is None and len(queries) == 1:  # one statement reads one state
                return records.execute(*queries[0]).fetchall()
            with transaction(records, "DEFERRED"):
                if view is not None and read_numbers(records, self.directory)[0] != view.layout.generation:
                    raise StaleViewError(CHANGED)
                return [found for some in queries for found in records.execute(*some).fetchall()]

        found = {values[0]: Record(*values) for values in self._records.read(read)}
        if missing := [row for row in wanted if row not in found]:
            message = (
                f"rows {missing}: not in the library, which has 0 to {self._current.last.layout.rows - 1}"
            )
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
        for _ in range(TRIES):
            try:
                return read(self.view)
            except StaleViewError:
                continue
        raise RetrievalError(f"{self.directory}: {CHANGED}, {TRIES} times", hint="try again")

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
            RetrievalError: The library was closed, or cannot be read, or holds something else in the picture's place.
        """
        query = "SELECT png FROM thumbnails JOIN records USING (row) WHERE id = ?"
        found = self._records.read(lambda records: records.execute(query, [id]).fetchone())
        if found is None:
            raise StaleViewError(f"{id!r}: not in the library", hint="it may have been removed since")
        if not isinstance(found[0], bytes):
            raise RetrievalError(f"{id!r}: its picture is no picture", hint=HINT)
        return found[0]

    def any_caption(self) -> str:
        """Return what one of the references shows; nothing where there is none.

        Raises:
            RetrievalError: The library was closed, or cannot be read.
        """
        found = self._records.read(lambda records: records.execute(_ANY).fetchone())
        return "" if found is None else str(found[0])

    def close(self) -> None:
        """Close the records. Features that were read stay valid; further look-ups raise."""
        self._current.close()
        self._records.close()


class StaleViewError(RetrievalError):
    """Rows of a view are not in the library any more; take another view and search again."""
