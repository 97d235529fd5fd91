"""One state of a library: what was in it when the view was taken, whatever is added, removed or compacted since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys
from ragturbo_runtime.errors import InvalidInputError, RetrievalError
from ragturbo_runtime.index.candidates import RankedIndex
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.rows_file import RowsFile, read_rows


@dataclass(frozen=True)
class LibraryView:
    """Keys and features of one state. Several threads may use it at once.

    Attributes:
        layout: What the records said.
        keys_file: Stored keys, one per row.
        features_file: (T, C) per row, stored.
        alive: (rows,) bool: which rows are pictures; None: all.
        indexed: An index over the first rows, or None.
        rest: Exact search over the rows behind those.
    """

    layout: Layout
    keys_file: RowsFile
    features_file: RowsFile
    alive: NDArray[np.bool_] | None
    indexed: RankedIndex | None
    rest: ExactIndex

    @property
    def count(self) -> int:
        """N pictures."""
        return self.layout.rows - self.removed

    @property
    def removed(self) -> int:
        """Rows that are no pictures any more."""
        return 0 if self.alive is None else len(self.alive) - int(np.count_nonzero(self.alive))

    def alive_with(self, more: int) -> NDArray[np.bool_] | None:
        """Return which rows are pictures when so many pictures more are behind them."""
        return None if self.alive is None else np.concatenate([self.alive, np.ones(more, np.bool_)])

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest references of every query.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 or more.

        Returns:
            (Q, min(k, N)) int64 rows and float32 cosines, best first.

        Raises:
            InvalidInputError: The queries have another width, or ``k`` is below 1.
            RetrievalError: The index failed.
        """
        if queries.ndim != 2 or queries.shape[1] != self.layout.embed_dim or k < 1:
            raise InvalidInputError(
                f"queries are {queries.shape}, k is {k}: expected (Q, {self.layout.embed_dim}) and 1 or more",
                argument="queries",
            )
        if self.indexed is None:
            return self.rest.search(queries, k, self.alive)
        split, alive = self.indexed.count, self.alive
        old = self.indexed.search(queries, k, None if alive is None else alive[:split])
        if not self.rest.count:
            return old
        new = self.rest.search(queries, k, None if alive is None else alive[split:])
        rows = np.concatenate([old[0], new[0] + split], axis=1)
        cosines = np.concatenate([old[1], new[1]], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        places = np.arange(len(queries))[:, None]
        return rows[places, best], cosines[places, best]

    def features(self, rows: Sequence[int] | NDArray[np.int64]) -> Array:
        """Read the features of some references.

        Args:
            rows: K row numbers, of any shape; repeats are fine.

        Returns:
            (K, T, C) int8 or float16, to be multiplied by ``layout.scale``.

        Raises:
            RetrievalError: A row is out of range.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.layout.rows:
            raise RetrievalError(f"rows {wanted.tolist()}: expected 0 to {self.layout.rows - 1}")
        return read_rows(self.features_file.first(self.layout.rows), wanted)
