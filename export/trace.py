"""From a module to an ONNX model that is fit to ship: traced, cleaned, and checked to be whole."""

from __future__ import annotations

import warnings

import onnx
import onnx_ir
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.graphs import DYNAMIC, OPSET, TRACED_SIZES, GraphSpec
from export.translations import Table, translations

_DTYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "int64": onnx.TensorProto.INT64,
    "int8": onnx.TensorProto.INT8,
}


def trace(spec: GraphSpec, table: Table | None = None) -> onnx_ir.Model:
    """Export a graph with dynamic dimensions, in float32.

    Args:
        spec: The graph.
        table: How operators are translated; None for `translations`.

    Returns:
        A model whose weights are still torch's own: nothing was copied.

    Raises:
        ExportError: torch cannot export it.
    """
    dimensions = {name: torch.export.Dim(name, min=low, max=high) for name, (low, high) in DYNAMIC.items()}
    shapes = tuple(
        {axis: dimensions[dim] for axis, dim in enumerate(tensor.shape) if isinstance(dim, str)}
        for tensor in spec.inputs
    )
    with warnings.catch_warnings():
        # One Dim stands for the batch of every input; the exporter says so at each.
        warnings.filterwarnings("ignore", message="# The axis name")
        try:
            program = torch.onnx.export(
                _Positional(spec.module).eval(),
                spec.example(TRACED_SIZES, 0),
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"inputs": shapes},
                custom_translation_table=translations() if table is None else table,
                verbose=False,
            )
        except Exception as error:  # the exporter's errors share no base class
            raise ExportError(f"{spec.name}: torch cannot export it: {error}") from error
    if program is None:
        raise ExportError(f"{spec.name}: torch exported nothing")
    return program.model


def to_proto(model: onnx_ir.Model, spec: GraphSpec) -> onnx.ModelProto:
    """Make a traced model fit to ship: without metadata, and whole.

    Args:
        model: From `trace`; its weights are copied, but for those that lie in a file beside it.
        spec: What it must be.

    Returns:
        A model whose inputs and outputs are those of the spec, in order.

    Raises:
        ExportError: It is not a whole graph of that signature.
    """
    proto = onnx_ir.to_proto(model)
    strip_metadata(proto)
    check_whole(proto, spec)
    return proto


class _Positional(nn.Module):
    """Takes all inputs as one tuple, so that dynamic shapes are stated alike for every graph."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        result: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return result


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes: stack traces with paths of this machine, and inferred shapes.

    Args:
        model: Changed in place.
    """
    graph = model.graph
    for item in (
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.initializer,
        graph,
        model,
        *model.functions,
    ):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    graph.ClearField("value_info")  # runtimes infer shapes themselves; here they only add bytes
    graph.name = "ragturbo"


def check_whole(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Make sure that every value has a producer and that the signature is the spec's.

    Passes over a graph can drop nodes whose results are outputs; the file then still parses.

    Args:
        model: The model.
        spec: What it must be.

    Raises:
        ExportError: A value is used or promised that nothing makes, or a name, dtype or shape differs.
    """
    graph = model.graph
    made = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        if missing := [name for name in node.input if name and name not in made]:
            raise ExportError(
                f"{spec.name}: node {node.name!r} uses {missing}, which nothing before it makes"
            )
        made |= set(node.output)
    if missing := [value.name for value in graph.output if value.name not in made]:
        raise ExportError(
            f"{spec.name}: outputs {missing} have no producer; a pass over the graph has lost them"
        )
    for kind, values, expected in (
        ("inputs", graph.input, spec.inputs),
        ("outputs", graph.output, spec.outputs),
    ):
        found = [_described(value) for value in values]
        if found != (wanted := [(t.name, _DTYPES[t.dtype], t.shape) for t in expected]):
            raise ExportError(f"{spec.name}: its {kind} are {found}, expected {wanted}")


def _described(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
