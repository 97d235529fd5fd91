"""Exact search of many queries at once, with some of the keys in memory at a time: what an index is compared with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.index.exact import largest


def nearest(queries: Keys, blocks: Iterable[Keys], k: int) -> NDArray[np.int64]:
    """Find the nearest keys.

    Args:
        queries: (Q, E) float32.
        blocks: (n, E) float32 each, N >= 1 keys in all.
        k: How many.

    Returns:
        (Q, min(k, N)) int64 rows, best first.
    """
    rows = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    start = 0
    for block in blocks:
        values = queries @ block.T
        found = np.stack([largest(of_one, min(k, len(block))) for of_one in values])
        rows = np.hstack([rows, found + start])
        cosines = np.hstack([cosines, np.take_along_axis(values, found, axis=1)])
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        rows, cosines = np.take_along_axis(rows, best, axis=1), np.take_along_axis(cosines, best, axis=1)
        start += len(block)
    return rows


def recall_of(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the true neighbours that were found; both (Q, k) rows."""
    hits = [len(np.intersect1d(some, others)) for some, others in zip(found, true, strict=True)]
    return float(sum(hits)) / true.size
