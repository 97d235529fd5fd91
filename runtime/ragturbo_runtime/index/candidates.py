"""What proposes candidates: an approximate index over quantised keys, whose own scores are too coarse to rank by."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.index.exact import largest, product

CANDIDATES = 100
"""Ranked again for each query, at least (ScaNN's docs/algorithms.md: reorder 100; docs/library.md has others)."""


class Proposer(Protocol):
    """An approximate index.

    Attributes:
        count: N keys.
    """

    count: int

    def propose(self, queries: Keys, candidates: int, effort: int) -> NDArray[np.int64]:
        """Propose rows.

        Args:
            queries: (Q, E) float32 unit vectors.
            candidates: How many, 1 to N.
            effort: How many parts of the index are looked through.

        Returns:
            (Q, candidates) int64 rows in any order, -1 where there are fewer.
        """


class RankedIndex:
    """Candidates of an index, ranked by the stored keys.

    Attributes:
        count: N keys.
        effort: Parts of the index that are looked through.
    """

    def __init__(
        self, proposer: Proposer, keys: NDArray[Any], effort: int, *, candidates: int = CANDIDATES
    ) -> None:
        """Keep the parts.

        Args:
            proposer: The index.
            keys: N or more rows, from `ragturbo_runtime.library.key_rows`.
            effort: From `ragturbo_runtime.index.effort`.
            candidates: Ranked for each query, at least.
        """
        self.count: int = proposer.count
        self.effort: int = effort
        self._candidates = candidates
        self._proposer, self._keys = proposer, keys

    def search(
        self, queries: Keys, k: int, alive: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest keys of every query, nearly always all of them.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 or more.
            alive: (N,) which keys count; None: all.

        Returns:
            (Q, min(k, N alive)) int64 rows and float32 cosines, best first.
        """
        count = min(k, self.count if alive is None else int(np.count_nonzero(alive)))
        wanted = min(self.count, max(self._candidates, 4 * k))
        while True:
            proposed = self._proposer.propose(
                queries, wanted, self.effort if wanted < self.count else self.count
            )
            kept = proposed >= 0 if alive is None else (proposed >= 0) & alive[proposed]
            if wanted == self.count or kept.sum(axis=1).min() >= count:
                break
            wanted = min(self.count, 4 * wanted)  # the nearest ones were removed
        return self._ranked(queries, proposed, kept, count)

    def _ranked(
        self, queries: Keys, proposed: NDArray[np.int64], kept: NDArray[np.bool_], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = np.empty((len(queries), count), np.int64)
        cosines = np.empty((len(queries), count), np.float32)
        for place in range(len(queries)):
            # Ties then go to the smaller row, and the file is read forwards.
            own = np.sort(proposed[place][kept[place]])
            values = _cosines(queries[place : place + 1], self._keys.take(own, axis=0))
            best = largest(values, count)
            rows[place], cosines[place] = own[best], values[best]
        return rows, cosines


def _cosines(query: Keys, rows: NDArray[Any]) -> NDArray[np.float32]:
    """(1, E) with n stored rows: (n,). A row's step multiplies its one product, not its E numbers."""
    is_int8 = rows.dtype.names is not None
    values: Keys = (rows["values"] if is_int8 else rows).astype(np.float32)
    cosines: NDArray[np.float32] = product(query, values.T)[0]
    if is_int8:
        cosines *= rows["step"]
    return cosines
