"""How two operators of torch become ONNX, where the exporter's own translation costs time for nothing.

Both rewrites are exact, and both keep the shape of the subgraphs that ONNX Runtime's fusions look for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18 as op

from export.errors import ExportError

Value = Any  # an onnx_ir value while tracing; onnxscript exports no type for it


def translations() -> dict[Callable[..., object], Callable[..., object]]:
    """Return the table for ``torch.onnx.export(custom_translation_table=...)``."""
    return {torch.ops.aten.gelu.default: _gelu, torch.ops.aten.baddbmm.default: _baddbmm}


def _gelu(x: Value, approximate: str = "none") -> Value:
    """Halve x first: (0.5 x) (1 + erf(x / sqrt 2)), which ONNX Runtime fuses into one Gelu.

    The exporter halves the other factor, which no fusion knows. Halving is exact either way.
    """
    if approximate != "none":
        raise ExportError(f"cannot export gelu(approximate={approximate!r}); the families use the exact one")
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Div(x, 2.0**0.5)), 1.0))


def _baddbmm(added: Value, batch1: Value, batch2: Value, beta: float = 1.0, alpha: float = 1.0) -> Value:
    """Leave out what beta = 0 switches off.

    Diffusers' attention without a mask passes an empty tensor and beta = 0; the exporter makes zeros of the
    size of the attention scores, multiplies them by 0 and adds them.
    """
    product = op.Mul(op.MatMul(batch1, batch2), float(alpha))  # torch passes an int where one was written
    if beta == 0:
        return product
    return op.Add(product, added if beta == 1 else op.Mul(added, float(beta)))
