"""Pre-computed h-space features of the library: int8 rows in a memory-mapped file."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Scale
from ragturbo_runtime.errors import RetrievalError

_LEVELS = 127
"""Symmetric int8: -127 to 127."""


def reference_tokens(h: NDArray[Any], pool: int) -> NDArray[Any]:
    """Turn what the U-Net's encoder says of references into the tokens that the adapter attends to.

    Args:
        h: (B, C, hh, hw) float features; ``pool`` divides hh and hw.
        pool: Side of the square of cells whose mean is one token; 1 keeps every cell.

    Returns:
        (B, T, C), row-major, T = hh * hw / pool**2.
    """
    batch, channels, height, width = h.shape
    squares = h.reshape(batch, channels, height // pool, pool, width // pool, pool)
    cells: NDArray[Any] = squares.mean(axis=(3, 5)).reshape(batch, channels, -1)
    return cells.transpose(0, 2, 1)


def scale_of(h: NDArray[Any]) -> Scale:
    """Return the quantisation step of every channel: its largest magnitude / 127.

    Args:
        h: (N, T, C) float features.

    Returns:
        (C,) float32, positive; 1 for a channel that is 0 throughout.
    """
    largest = np.maximum(h.max(axis=(0, 1)), -h.min(axis=(0, 1))).astype(np.float32)
    scale = largest / np.float32(_LEVELS)
    return np.where(scale > 0, scale, np.float32(1.0)).astype(np.float32)


def encode_int8(h: NDArray[Any], scale: Scale) -> Features:
    """Quantise features; ``encoded * scale`` differs from ``h`` by at most ``scale / 2`` per channel.

    Args:
        h: (N, T, C) float features, within ``127 * scale``; larger ones are clipped.
        scale: (C,) float32, positive.

    Returns:
        (N, T, C) int8.
    """
    scaled: NDArray[np.float32] = np.divide(h, scale, dtype=np.float32)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_LEVELS, _LEVELS, out=scaled)
    return scaled.astype(np.int8)


class FeatureStore:
    """Rows of a raw int8 file, read through the page cache: only the rows that are asked for are touched.

    A row is T * C bytes and starts at row * T * C: whole pages where that is a multiple of 4,096, as it is in
    families that keep every cell (12,288 for 64 x 192, 81,920 for 64 x 1280). Several threads may read at once.

    Attributes:
        count: N rows.
        tokens: T.
        channels: C.
    """

    def __init__(self, path: Path, *, count: int, tokens: int, channels: int) -> None:
        """Map the file.

        Args:
            path: count * tokens * channels bytes.
            count: N rows.
            tokens: T.
            channels: C.

        Raises:
            RetrievalError: The file is missing or of another size.
        """
        expected = count * tokens * channels
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as exc:  # ValueError: an empty file
            raise RetrievalError(f"{path}: cannot be read ({exc})", hint="write the library again") from exc
        if len(self._map) != expected:
            raise RetrievalError(
                f"{path}: {len(self._map)} bytes, expected {expected} = {count} x {tokens} x {channels}",
                hint="write the library again",
            )
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)  # k rows far apart: reading ahead would be wasted
        self.count, self.tokens, self.channels = count, tokens, channels
        self._rows = np.frombuffer(self._map, dtype=np.int8).reshape(count, tokens, channels)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Features:
        """Copy rows out of the file.

        Args:
            rows: K row numbers, 0 to N - 1; repeats are fine.

        Returns:
            (K, T, C) int8.

        Raises:
            RetrievalError: A row is out of range.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.count:
            raise RetrievalError(f"rows {wanted.tolist()}: expected 0 to {self.count - 1}")
        return self._rows[wanted]
