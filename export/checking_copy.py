"""A copy of a graph for CUDA that the CPU can run, to see whether it is wired right: never shipped.

Operators that only the CUDA provider has are written out with standard ones, and all arithmetic is float32. The weights
are those of the graph, rounded as they are there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.fusion import CONTRIB

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def checking_copy(model: ir.Model) -> ir.Model:
    """Rewrite a graph for the CPU.

    Args:
        model: Fused and in float16; not changed. Its weights are read again only when the copy is written.

    Returns:
        The same computation of standard operators in float32, and of those of ONNX Runtime's that the CPU knows.
    """
    copy = model.clone()
    for node in list(copy.graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == CONTRIB else None
        if rewrite is None:
            continue
        tape = ir.tape.Tape()
        outputs = rewrite(tape, node)
        used = [value for value in node.outputs if value.name][: len(outputs)]
        for old, new in zip(used, outputs, strict=False):
            new.name = old.name
        ir.convenience.replace_nodes_and_values(
            copy.graph, node, [node], tape.nodes, used, outputs[: len(used)]
        )
    _widen(copy)
    return copy


def _conv(tape: ir.tape.Tape, node: ir.Node) -> list[ir.Value]:
    """NhwcConv: kernels are (out, rows, columns, in)."""
    x = _transposed(tape, node.inputs[0], _TO_NCHW)
    weight = _transposed(tape, node.inputs[1], _TO_NCHW)
    return [
        _transposed(tape, tape.op("Conv", [x, weight, *node.inputs[2:]], dict(node.attributes)), _TO_NHWC)
    ]


def _group_norm(tape: ir.tape.Tape, node: ir.Node) -> list[ir.Value]:
    return [_normed(tape, node, node.inputs[0])]


def _skip_group_norm(tape: ir.tape.Tape, node: ir.Node) -> list[ir.Value]:
    """The sum of input, skip, and perhaps bias is normed, and perhaps returned."""
    total = tape.op("Add", [node.inputs[0], node.inputs[3]])
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        total = tape.op("Add", [total, node.inputs[4]])
    return [_normed(tape, node, total), total]


def _normed(tape: ir.tape.Tape, node: ir.Node, x: ir.Value | None) -> ir.Value:
    """Group norm of (B, H, W, C), scaled, shifted, and perhaps x * sigmoid(x) of it."""
    groups = node.attributes["groups"].as_int()
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    nchw = _transposed(tape, x, _TO_NCHW)
    flat = tape.op("Reshape", [nchw, _ints(tape, [0, groups, -1])])
    ones, zeros = (tape.op("Constant", [], {"value_floats": [value] * groups}) for value in (1.0, 0.0))
    normed = tape.op("InstanceNormalization", [flat, ones, zeros], {"epsilon": epsilon})
    normed = _transposed(tape, tape.op("Reshape", [normed, tape.op("Shape", [nchw])]), _TO_NHWC)
    result = tape.op("Add", [tape.op("Mul", [normed, node.inputs[1]]), node.inputs[2]])
    if node.attributes["activation"].as_int():
        result = tape.op("Mul", [result, tape.op("Sigmoid", [result])])
    return result


def _split_gelu(tape: ir.tape.Tape, node: ir.Node) -> list[ir.Value]:
    """The first half times the exact Gelu of the second."""
    both = tape.op("Add", [node.inputs[0], node.inputs[1]])
    first, second = tape.op_multi_out("Split", [both], {"axis": -1, "num_outputs": 2}, num_outputs=2)
    return [tape.op("Mul", [first, tape.op("Gelu", [second], domain=CONTRIB)])]


def _bias_add(tape: ir.tape.Tape, node: ir.Node) -> list[ir.Value]:
    return [tape.op("Add", [tape.op("Add", [node.inputs[0], node.inputs[1]]), node.inputs[2]])]


_REWRITES: dict[str, Callable[[ir.tape.Tape, ir.Node], list[ir.Value]]] = {
    "NhwcConv": _conv,
    "GroupNorm": _group_norm,
    "SkipGroupNorm": _skip_group_norm,
    "BiasSplitGelu": _split_gelu,
    "BiasAdd": _bias_add,
}


def _widen(model: ir.Model) -> None:
    """Float32 in the place of float16: values, weights, constants, and what is cast to."""
    half, single = ir.DataType.FLOAT16, ir.DataType.FLOAT
    for node in model.graph:
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == half:
                node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
            elif node.op_type == "Cast" and name == "to" and attribute.as_int() == half:
                node.attributes[name] = ir.AttrInt64(name, single)
        for value in node.outputs:
            if value.dtype == half:
                value.dtype = single
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        if value.dtype == half:
            value.dtype = single
        if value.const_value is not None and value.const_value.dtype == half:
            value.const_value = _single(value.const_value)


def _single(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    def convert() -> ir.TensorProtocol:
        values: NDArray[np.float32] = tensor.numpy().astype(np.float32)
        return ir.Tensor(values, name=tensor.name)

    return ir.LazyTensor(convert, ir.DataType.FLOAT, ir.Shape(tensor.shape.numpy()), name=tensor.name)


def _transposed(tape: ir.tape.Tape, value: ir.Value | None, permutation: tuple[int, ...]) -> ir.Value:
    return tape.op("Transpose", [value], {"perm": list(permutation)})


def _ints(tape: ir.tape.Tape, values: list[int]) -> ir.Value:
    return tape.op("Constant", [], {"value_ints": values})
