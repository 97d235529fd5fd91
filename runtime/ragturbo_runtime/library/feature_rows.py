"""How h-space features are stored: float16, or int8 with one step per channel.

A step per channel and not per picture: the adapter's graph multiplies by it, and gets it once for all references.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Scale

FeatureCodec = Literal["int8", "float16"]
FEATURE_CODECS: tuple[FeatureCodec, ...] = get_args(FeatureCodec)
_LEVELS = 127
"""Symmetric int8: -127 to 127."""
_ROWS_AT_ONCE = 256


def feature_row(codec: FeatureCodec, tokens: int, channels: int) -> np.dtype[Any]:
    """Return the layout of one reference's stored features: (T, C)."""
    return np.dtype(("<i1" if codec == "int8" else "<f2", (tokens, channels)))


def encode_features(h: NDArray[Any], codec: FeatureCodec, scale: Scale) -> NDArray[Any]:
    """Store features; a memory map is read in blocks.

    Args:
        h: (N, T, C) float features.
        codec: How.
        scale: (C,) float32; ones for float16.

    Returns:
        (N, T, C), to be multiplied by ``scale``.
    """
    if codec == "float16":
        return np.asarray(h, "<f2")
    stored = np.empty(h.shape, np.int8)
    for start in range(0, len(h), _ROWS_AT_ONCE):
        stored[start : start + _ROWS_AT_ONCE] = encode_int8(h[start : start + _ROWS_AT_ONCE], scale)
    return stored


def clipped_share(h: NDArray[Any], codec: FeatureCodec, scale: Scale) -> float:
    """Return the share of values that a scale cannot hold: the library's was measured on other pictures."""
    if codec == "float16" or h.size == 0:
        return 0.0
    return float(np.mean(np.abs(h) > scale * np.float32(_LEVELS + 0.5)))


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
