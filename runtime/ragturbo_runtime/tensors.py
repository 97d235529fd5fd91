"""Tensors as graphs exchange them: on the host as numpy arrays, on a device as OrtValues.

All casts between half and single precision happen here: a ``cuda-fp16`` graph says float16 in the manifest, and the
rest of the runtime computes in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array

if TYPE_CHECKING:
    import onnxruntime

Tensor: TypeAlias = "Array | onnxruntime.OrtValue"
"""A numpy array, or what another graph left on the device."""

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
"""numpy's names of ONNX Runtime's types."""

_FLOATS = {"float32", "float16"}

_NAMES = {np.dtype(name): name for name in DTYPES.values()}
"""numpy makes a dtype's name anew each time: some tenths of a millisecond for a whole call."""


def to_host(tensor: Tensor) -> Array:
    """Bring a tensor to numpy; an array is returned as it is."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def to_float32(tensor: Tensor) -> NDArray[np.float32]:
    """Bring a tensor of floats to numpy in single precision, without a copy where it is there already."""
    return to_host(tensor).astype(np.float32, copy=False)


def describe(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """Return the dtype by numpy's name and the shape."""
    if isinstance(tensor, np.ndarray):
        return _NAMES.get(tensor.dtype) or tensor.dtype.name, tensor.shape
    kind = tensor.data_type()
    return DTYPES.get(kind, kind), tuple(tensor.shape())


def fit(tensor: Tensor, dtype: str) -> Tensor:
    """Cast between float32 and float16 where a graph reads the other one.

    Args:
        tensor: Of any dtype.
        dtype: What the graph reads, by numpy's name.

    Returns:
        The tensor itself where it fits, or where the difference is none of these: that is for the graph's border to
        refuse. What does not fit half precision becomes infinite, which is refused where pictures are checked.
    """
    found, _ = describe(tensor)
    if found == dtype or not {found, dtype} <= _FLOATS:
        return tensor
    with np.errstate(over="ignore"):
        return to_host(tensor).astype(dtype)


def agree(first: tuple[str, tuple[Any, ...]], second: tuple[str, tuple[Any, ...]]) -> bool:
    """Whether dtype, rank and every fixed dimension of two (dtype, shape) are equal."""
    (dtype, shape), (other_dtype, other_shape) = first, second
    return (
        dtype == other_dtype
        and len(shape) == len(other_shape)
        and all(
            a == b or isinstance(a, str | None) or isinstance(b, str | None)
            for a, b in zip(shape, other_shape, strict=True)
        )
    )
