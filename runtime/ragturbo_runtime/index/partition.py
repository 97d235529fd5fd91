"""What every index does alike: how many parts it has, which keys it learns them from, how it reads the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.library.key_rows import decode_keys

_ROWS_AT_ONCE = 8_192
"""Decoded: 32 MiB of 1,024 numbers."""
_TRAINING, _PER_LEAF = 100_000, 100
"""At least so many keys are learned from. An index that learned from 250,000 of 630,000 found 0.001 more of the
neighbours, and took 6.5 GB more to build."""


def leaves_of(count: int) -> int:
    """Return how many parts an index has: the square root of its keys (ScaNN's docs/algorithms.md)."""
    return max(1, int(count**0.5))


def training_rows(count: int) -> NDArray[np.int64]:
    """Choose the keys that an index learns from: by chance, since pictures come in the order of their folders.

    Args:
        count: N keys.

    Returns:
        (n,) rising int64 rows, all of them where there are few.
    """
    wanted = max(_TRAINING, _PER_LEAF * leaves_of(count))
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))


def decoded(keys: NDArray[Any]) -> Iterator[Keys]:
    """Read stored keys, some at a time.

    Args:
        keys: N stored rows, from `ragturbo_runtime.library.key_rows`.

    Yields:
        (n, E) float32, N of them in all.
    """
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        yield decode_keys(keys[start : start + _ROWS_AT_ONCE])
