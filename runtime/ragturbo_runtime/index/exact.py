"""Exact search: every key is compared. It needs no building, and can be added to."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys
from ragturbo_runtime.errors import RetrievalError

_SMALL_PRODUCT = 1 << 18
"""Products of so many multiplications or fewer stay in the calling thread (OpenBLAS, interface/gemm.c). Its threads
spin on for milliseconds after a larger one, on the cores that the graphs then wait for (docs/pitfalls.md)."""

_LEAST_ROOM = 64


class ExactIndex:
    """Keys in one array; ties go to the smaller row. It never changes: adding makes another index, which shares it.

    Attributes:
        count: N keys.
    """

    def __init__(self, keys: Array) -> None:
        """Keep the keys as float32 (numpy has no fast float16 product).

        Args:
            keys: (N, E) float16 or float32 unit vectors.

        Raises:
            RetrievalError: A key is not finite.
        """
        self._room = _Room(_finite(keys).T)
        self.count: int = len(keys)

    def extended(self, keys: Array) -> ExactIndex:
        """Return an index with more keys behind these.

        Args:
            keys: (n, E) float unit vectors.

        Raises:
            RetrievalError: A key is not finite.
        """
        index = object.__new__(ExactIndex)
        index._room = self._room.with_more(self.count, _finite(keys).T)
        index.count = self.count + len(keys)
        return index

    def search(
        self, queries: Keys, k: int, alive: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest keys of every query.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 or more.
            alive: (N,) which keys count; None: all.

        Returns:
            (Q, min(k, N alive)) int64 rows and float32 cosines, best first.
        """
        found = product(queries, self._room.keys_t[:, : self.count])
        count = min(k, self.count)
        if alive is not None:
            found[:, ~alive] = -np.inf
            count = min(k, int(np.count_nonzero(alive)))
        rows = np.empty((len(queries), count), dtype=np.int64)
        cosines = np.empty((len(queries), count), dtype=np.float32)
        for place, values in enumerate(found):
            rows[place] = largest(values, count)
            cosines[place] = values[rows[place]]
        return rows, cosines


class _Room:
    """Keys with room behind them, which the first who adds to them takes: a key is copied a few times in all."""

    def __init__(self, keys_t: NDArray[np.float32]) -> None:
        self.keys_t = np.ascontiguousarray(keys_t)  # (E, capacity): rows of a product are contiguous
        self.used = keys_t.shape[1]
        self._lock = threading.Lock()

    def with_more(self, count: int, keys_t: NDArray[np.float32]) -> _Room:
        """Put keys behind the first ``count``: here, or in a larger room where others have taken the place."""
        total = count + keys_t.shape[1]
        with self._lock:
            if self.used == count and total <= self.keys_t.shape[1]:
                self.keys_t[:, count:total] = keys_t
                self.used = total
                return self
        larger = _Room(np.empty((len(keys_t), max(_LEAST_ROOM, total + total // 4)), np.float32))
        larger.keys_t[:, :count] = self.keys_t[:, :count]
        larger.keys_t[:, count:total] = keys_t
        larger.used = total
        return larger


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the positions of the largest values, largest first, equal ones by position."""
    if count == 0:
        return np.empty(0, np.int64)
    if count < len(values):
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        candidates = np.flatnonzero(values >= threshold)
    else:
        candidates = np.arange(len(values))
    order = np.argsort(-values[candidates], kind="stable")
    return candidates[order[:count]]


def _finite(keys: Array) -> Keys:
    if not np.isfinite(keys).all():
        raise RetrievalError("the library's keys hold NaN or infinity", hint="build the library again")
    return keys.astype(np.float32, copy=False)


def product(queries: Keys, keys_t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply in the calling thread alone.

    Args:
        queries: (Q, E) float32.
        keys_t: (E, N) float32.

    Returns:
        (Q, N) float32.
    """
    width, count = keys_t.shape
    # Matrix times matrix even for one query: matrix times vector is given to threads much sooner.
    rows = queries if len(queries) > 1 else np.repeat(queries, 2, axis=0)
    cosines = np.empty((len(rows), count), dtype=np.float32)
    columns = max(1, _SMALL_PRODUCT // (width * len(rows)))
    for start in range(0, count, columns):
        np.matmul(rows, keys_t[:, start : start + columns], out=cosines[:, start : start + columns])
    return cosines[: len(queries)]
