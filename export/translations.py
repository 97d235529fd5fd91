"""How some operators of torch become ONNX, where the exporter's own translation costs time or memory for nothing.

All of it is exact but for rounding, and keeps the shape of the subgraphs that ONNX Runtime's fusions look for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18 as op

from export.errors import ExportError

Value = Any  # an onnx_ir value while tracing; onnxscript exports no type for it
Table = dict[Callable[..., object], Callable[..., object]]


def translations() -> Table:
    """Return the table for ``torch.onnx.export(custom_translation_table=...)``."""
    return {
        torch.ops.aten.gelu.default: _gelu,
        torch.ops.aten.baddbmm.default: _baddbmm,
        torch.ops.aten.group_norm.default: _group_norm,
    }


def cuda_translations() -> Table:
    """Return the table for graphs in which ONNX Runtime's library fuses operators for CUDA."""
    return translations() | {torch.ops.aten.group_norm.default: _fusible_group_norm}


def _gelu(x: Value, approximate: str = "none") -> Value:
    """Halve x first: (0.5 x) (1 + erf(x / sqrt 2)), which ONNX Runtime fuses into one Gelu.

    The exporter halves the other factor, which no fusion knows. Halving is exact either way.
    """
    if approximate != "none":
        raise ExportError(f"cannot export gelu(approximate={approximate!r}); the families use the exact one")
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Div(x, 2.0**0.5)), 1.0))


def _group_norm(
    x: Value, num_groups: int, weight: Value, bias: Value, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Value:
    """Group norm (Wu and He, 2018) as instance norm of whole groups, reshaped by constants.

    The exporter reshapes back to ``Shape(x)``. Then ONNX Runtime knows no size, and computes what follows beside what
    it could overwrite: at SD-Turbo's last resolution each such tensor is 268 MB.
    """
    if not all(isinstance(size, int) for size in x.shape[1:]):
        raise ExportError(f"cannot export group norm of {x.shape}: only the batch may be dynamic")
    return _normed(x, num_groups, weight, bias, eps, _ints([0, *x.shape[1:]]))


def _fusible_group_norm(
    x: Value, num_groups: int, weight: Value, bias: Value, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Value:
    """The form that the fusion looks for, reshaped back to ``Shape(x)``, where its kernel can compute it.

    The kernel takes the channels of a group in pairs: of an odd number it computes nonsense.
    """
    if len(x.shape) != 4 or x.shape[1] // num_groups % 2:
        return _group_norm(x, num_groups, weight, bias, eps, cudnn_enabled)
    return _normed(x, num_groups, weight, bias, eps, op.Shape(x))


def _normed(x: Value, num_groups: int, weight: Value, bias: Value, eps: float, shape: Value) -> Value:
    ones, zeros = (op.Constant(value_floats=[value] * num_groups) for value in (1.0, 0.0))
    groups = op.Reshape(x, _ints([0, num_groups, -1]))
    normed = op.InstanceNormalization(groups, ones, zeros, epsilon=eps)
    normed = op.Reshape(normed, shape)
    axes = _ints(list(range(1, len(x.shape) - 1)))
    return op.Add(op.Mul(normed, op.Unsqueeze(weight, axes)), op.Unsqueeze(bias, axes))


def _ints(values: list[int]) -> Value:
    return op.Constant(value_ints=values)


def _baddbmm(added: Value, batch1: Value, batch2: Value, beta: float = 1.0, alpha: float = 1.0) -> Value:
    """Leave out what beta = 0 switches off.

    Diffusers' attention without a mask passes an empty tensor and beta = 0; the exporter makes zeros of the
    size of the attention scores, multiplies them by 0 and adds them.
    """
    product = op.Mul(op.MatMul(batch1, batch2), float(alpha))  # torch passes an int where one was written
    if beta == 0:
        return product
    return op.Add(product, added if beta == 1 else op.Mul(added, float(beta)))
