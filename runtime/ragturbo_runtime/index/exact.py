"""Exact search: every key is compared. It needs no building, and can be added to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys
from ragturbo_runtime.errors import RetrievalError

_SMALL_PRODUCT = 1 << 18
"""Products of so many multiplications or fewer stay in the calling thread (OpenBLAS, interface/gemm.c). Its threads
spin on for milliseconds after a larger one, on the cores that the graphs then wait for (docs/pitfalls.md)."""


class ExactIndex:
    """Keys in blocks; ties go to the smaller row. It never changes: adding makes another index, which shares blocks.

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
        self._blocks: tuple[NDArray[np.float32], ...] = (
            _block(keys),
        )  # (E, n) each: rows of a product are contiguous
        self.count = len(keys)

    def extended(self, keys: Array) -> ExactIndex:
        """Return an index with more keys behind these.

        Args:
            keys: (n, E) float unit vectors.

        Raises:
            RetrievalError: A key is not finite.
        """
        index = ExactIndex(keys)
        blocks = [*self._blocks, *index._blocks]
        # Blocks of falling sizes: a key is copied a few times in all, and there are few blocks to search.
        while len(blocks) > 1 and blocks[-2].shape[1] <= 2 * blocks[-1].shape[1]:
            last = blocks.pop()
            blocks[-1] = np.concatenate([blocks[-1], last], axis=1)
        index._blocks, index.count = tuple(blocks), self.count + len(keys)
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
        cosines = np.concatenate([product(queries, block) for block in self._blocks], axis=1)
        count = min(k, self.count)
        if alive is not None:
            cosines[:, ~alive] = -np.inf
            count = min(k, int(np.count_nonzero(alive)))
        rows = np.empty((len(queries), count), dtype=np.int64)
        for place, values in enumerate(cosines):
            rows[place] = largest(values, count)
        return rows, np.take_along_axis(cosines, rows, axis=1)


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


def _block(keys: Array) -> NDArray[np.float32]:
    if not np.isfinite(keys).all():
        raise RetrievalError("the library's keys hold NaN or infinity", hint="build the library again")
    return np.ascontiguousarray(keys.astype(np.float32, copy=False).T)


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
