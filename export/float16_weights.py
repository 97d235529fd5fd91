"""Weights stored as float16, arithmetic left in float32: half the bytes, the same speed.

Each weight becomes a float16 initialiser and a Cast. Runtimes fold such Casts when a session is made, so
nothing is cast while drawing. Only an embedding table stays as it is stored, and the rows that are looked up
are cast. Weights that are float16 numbers already (a base stored in half precision) lose nothing by it.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SMALLEST = 512
"""Initialisers with fewer elements stay as they are: a Cast costs more bytes than it saves."""


def store_float16(model: onnx.ModelProto, *, lossless_only: bool) -> onnx.ModelProto:
    """Copy a model, with its weights stored as float16.

    Args:
        model: A float32 model; not changed.
        lossless_only: Only weights that float16 holds exactly. Otherwise all that do not overflow it.

    Returns:
        The copy. Inputs, outputs and every computation stay float32.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = set()
    for tensor in copy.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        values = _as_float16(numpy_helper.to_array(tensor), lossless_only=lossless_only)
        if values is not None:
            stored.add(tensor.name)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    _insert_casts(copy.graph, stored)
    return copy


def _insert_casts(graph: onnx.GraphProto, stored: set[str]) -> None:
    """Cast every stored weight before its first use, and a table after it was looked up in."""
    tables = stored - {
        name
        for node in graph.node
        for place, name in enumerate(node.input)
        if not (node.op_type == "Gather" and place == 0)
    }
    nodes = [_cast(name, f"{name}.float32") for name in sorted(stored - tables)]
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in stored and name not in tables:
                node.input[place] = f"{name}.float32"
        nodes.append(node)
        if node.op_type == "Gather" and node.input[0] in tables:
            looked_up, result = f"{node.output[0]}.float16", node.output[0]
            node.output[0] = looked_up
            nodes.append(_cast(looked_up, result))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    graph.ClearField("node")
    graph.node.extend(kept)


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=onnx.TensorProto.FLOAT)


def _as_float16(values: NDArray[np.float32], *, lossless_only: bool) -> NDArray[np.float16] | None:
    """The values as float16, or None where that would not do."""
    with np.errstate(over="ignore"):
        stored = values.astype(np.float16)
    if np.array_equal(np.isfinite(stored), np.isfinite(values)) and (
        not lossless_only or np.array_equal(stored.astype(np.float32), values)
    ):
        return stored
    return None
