"""How keys are stored: as float16, or as int8 with a step of their own, which takes half the room.

A unit vector of 1,024 numbers in int8 has cosines that are off by some 0.0003: less than what tells neighbours apart,
and so the same rows serve to rank what an index found (docs/library.md).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys

KeyDtype = Literal["float16", "int8"]
KEY_DTYPES: tuple[KeyDtype, ...] = get_args(KeyDtype)
_LEVELS = 127


def key_row(dtype: KeyDtype, embed_dim: int) -> np.dtype[Any]:
    """Return the layout of one stored key.

    Args:
        dtype: How keys are stored.
        embed_dim: E.
    """
    if dtype == "float16":
        return np.dtype(("<f2", (embed_dim,)))
    return np.dtype([("values", "i1", (embed_dim,)), ("step", "<f4")])


def encode_keys(keys: NDArray[Any], dtype: KeyDtype) -> NDArray[Any]:
    """Store keys.

    Args:
        keys: (N, E) float unit vectors, finite.
        dtype: How.

    Returns:
        N rows of `key_row`: (N, E) float16, or (N,) of fields.
    """
    if dtype == "float16":
        return keys.astype("<f2")
    values = np.asarray(keys, np.float32)
    steps = np.abs(values).max(axis=1) / np.float32(_LEVELS)
    steps[steps == 0] = 1.0
    rows = np.empty(len(values), key_row(dtype, values.shape[1]))
    rows["values"] = np.rint(values / steps[:, None])
    rows["step"] = steps
    return rows


def decode_keys(rows: NDArray[Any]) -> Keys:
    """Read stored keys.

    Args:
        rows: As `encode_keys` returns them.

    Returns:
        (N, E) float32.
    """
    if rows.dtype.names is None:
        return rows.astype(np.float32)
    values: Keys = rows["values"].astype(np.float32)
    values *= rows["step"][:, None]
    return values
