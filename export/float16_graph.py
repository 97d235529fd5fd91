"""A fused graph in float16, by ONNX Runtime's library: inputs, outputs, weights, and most of the arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from export.errors import ExportError
from export.graphs import GraphSpec
from export.operator_groups import kept_nodes
from export.value_types import value_types
from ragturbo_runtime.manifest import TensorSpec


def to_float16(model: onnx.ModelProto, graph: str, groups: Iterable[str]) -> onnx.ModelProto:
    """Convert a graph to float16.

    Args:
        model: Float32, fused, with stand-ins for its weights, whose types are changed like those of weights. Used up.
        graph: Its name, for messages.
        groups: Of `export.operator_groups`, which stay in float32.

    Returns:
        The graph. What is infinite in float16 is infinite there; nothing is checked here.

    Raises:
        ExportError: The library failed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for number, node in enumerate(model.graph.node):
        node.name = (
            f"{node.op_type}_{number}"  # the library knows nodes by their names, and made some without
        )
    types = value_types(model.graph)
    kept = kept_nodes(model.graph, groups, types)
    _describe_types(model.graph, types)
    try:
        # The library's own inference of shapes needs every operator to be ONNX's, and less than 2 GiB.
        half: onnx.ModelProto = convert_float_to_float16(
            model, disable_shape_infer=True, op_block_list=[], node_block_list=kept
        )
    except Exception as error:  # it asserts, and raises what it happens to meet
        raise ExportError(f"{graph}: ONNX Runtime's library cannot make it float16: {error}") from error
    half.graph.ClearField("value_info")
    _sort(half.graph)
    return half


def half_spec(spec: GraphSpec) -> GraphSpec:
    """Return the same graph with float16 in the place of float32, in and out."""
    return dataclasses.replace(
        spec, inputs=tuple(map(_half, spec.inputs)), outputs=tuple(map(_half, spec.outputs))
    )


def wide_spec(spec: GraphSpec) -> GraphSpec:
    """Return the same graph with float32 in the place of float16 that it reads: features, which a library keeps so."""

    def example(sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        return tuple(
            value.float() if value.dtype == torch.float16 else value for value in spec.example(sizes, seed)
        )

    inputs = tuple(
        dataclasses.replace(tensor, dtype="float32") if tensor.dtype == "float16" else tensor
        for tensor in spec.inputs
    )
    return dataclasses.replace(spec, inputs=inputs, example=example)


def _half(tensor: TensorSpec) -> TensorSpec:
    return dataclasses.replace(tensor, dtype="float16") if tensor.dtype == "float32" else tensor


def _describe_types(graph: onnx.GraphProto, types: dict[str, int]) -> None:
    """The library casts between the types only where values are described."""
    described = {value.name for value in (*graph.input, *graph.output)}
    described |= {tensor.name for tensor in graph.initializer}
    graph.ClearField("value_info")
    for node in graph.node:
        for name in node.output:
            if types.get(name) == TensorProto.FLOAT and name not in described:
                graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _sort(graph: onnx.GraphProto) -> None:
    """The library appends its casts at the end; every node shall follow what it reads."""
    made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer} | {""}
    waiting, ready = list(graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if made.issuperset(node.input):
                made.update(node.output)
                ready.append(onnx.NodeProto.FromString(node.SerializeToString()))
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ExportError(f"nodes {[node.name for node in later[:3]]} read what nothing makes")
        waiting = later
    graph.ClearField("node")
    graph.node.extend(ready)
