"""Weights as int8, arithmetic in float32 or int8: a quarter of the memory, for machines that lack it.

Linear layers become ONNX Runtime's MatMulNBits, with a scale for each block along the input; kernels of convolutions
are dequantised while drawing, one after the other; of embedding tables only the rows that are looked up. All of it is
symmetric: w = scale * q, |q| <= 127. (ONNX Runtime's own quantiser would do for the linear layers alone, and turns the
whole program's logging on when it is imported.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

SMALLEST = 4096
"""Weights with fewer elements stay float32: they would save nothing."""
BLOCK_SIZE = 64
"""Rows of a linear layer's weight that share one scale."""
ACCURACY_LEVEL = 4
"""MatMulNBits multiplies in int8, its inputs quantised block by block while it runs."""
_AXES = {"Conv": 0, "Gather": 0, "Gemm": 1}
"""Along which axis of a weight the scales lie; Gemm's follows its transB."""


def quantise_weights(model: ir.Model) -> int:
    """Replace float32 weights by int8 ones.

    Args:
        model: A traced model, float32; changed in place.

    Returns:
        How many weights were replaced.
    """
    count = 0
    for node in list(model.graph):
        place = {"MatMul": 1, "Gemm": 1, "Conv": 1, "Gather": 0}.get(node.op_type)
        weight = None if place is None else _weight(node.inputs[place])
        if weight is None or place is None:
            continue
        if node.op_type == "MatMul":
            _linear(model.graph, node, weight)
        elif node.op_type == "Gather":
            _look_up(model.graph, node, weight)
        else:
            _dequantised(model.graph, node, weight)
        count += 1
    RemoveUnusedNodesPass()(model)
    return count


def symmetric_int8(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to int8, with one scale for each index along an axis.

    Args:
        values: Any shape.
        axis: The axis that has its own scales.

    Returns:
        The numbers, of the same shape; the scales, one per index; 1 where all values are 0.
    """
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    return np.rint(values / scale.reshape(shape)).astype(np.int8), scale


def _weight(value: ir.Value | None) -> NDArray[np.float32] | None:
    """A constant float32 weight that is large enough, or None."""
    constant = None if value is None else ir.convenience.get_const_tensor(value)
    if constant is None or constant.dtype != ir.DataType.FLOAT or constant.size < SMALLEST:
        return None
    return np.asarray(constant.numpy(), np.float32)


def blocks_int8(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Quantise a linear layer as MatMulNBits reads it (ONNX Runtime's ContribOperators.md, bits = 8).

    Args:
        weight: (K, N), for x @ weight.

    Returns:
        (N, blocks, BLOCK_SIZE) uint8, of which 128 is zero, padded with it; (N, blocks) scales.
    """
    rows, columns = weight.shape
    padded = np.pad(weight, ((0, -rows % BLOCK_SIZE), (0, 0)))
    blocks = padded.T.reshape(columns, -1, BLOCK_SIZE)
    largest = np.abs(blocks).max(axis=2)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    return (np.rint(blocks / scale[..., None]) + 128).astype(np.uint8), scale


def _linear(graph: ir.Graph, node: ir.Node, weight: NDArray[np.float32]) -> None:
    packed, scales = blocks_int8(weight)
    rows, columns = weight.shape
    name = _name(node, 1)
    inputs = [
        node.inputs[0],
        _initialiser(graph, f"{name}.q", packed),
        _initialiser(graph, f"{name}.s", scales),
    ]
    attributes = {
        "K": rows,
        "N": columns,
        "bits": 8,
        "block_size": BLOCK_SIZE,
        "accuracy_level": ACCURACY_LEVEL,
    }
    tape = ir.tape.Tape()
    output = _like(node.outputs[0])
    tape.op("MatMulNBits", inputs, attributes, domain="com.microsoft", version=1, output=output)
    _swap(graph, node, tape)


def _dequantised(graph: ir.Graph, node: ir.Node, weight: NDArray[np.float32]) -> None:
    """Behind a DequantizeLinear, which ONNX Runtime does not fold."""
    axis = 0 if node.op_type == "Conv" or node.attributes.get_int("transB", False) else 1
    values, scale = symmetric_int8(weight, axis)
    name = _name(node, 1)
    tape = ir.tape.Tape()
    inputs = [_initialiser(graph, f"{name}.q", values), _initialiser(graph, f"{name}.s", scale)]
    restored = tape.op("DequantizeLinear", inputs, {"axis": axis})
    graph.insert_before(node, tape.nodes)
    node.replace_input_with(1, restored)


def _look_up(graph: ir.Graph, node: ir.Node, table: NDArray[np.float32]) -> None:
    """(rows, width): rows and their scales are looked up, and then multiplied."""
    values, scale = symmetric_int8(table, 0)
    name = _name(node, 0)
    tape = ir.tape.Tape()
    numbers, scales = (
        _initialiser(graph, f"{name}.q", values),
        _initialiser(graph, f"{name}.s", scale[:, None]),
    )
    found = tape.op("Gather", [numbers, node.inputs[1]], {"axis": 0})
    factor = tape.op("Gather", [scales, node.inputs[1]], {"axis": 0})
    tape.op(
        "Mul", [tape.op("Cast", [found], {"to": ir.DataType.FLOAT}), factor], output=_like(node.outputs[0])
    )
    _swap(graph, node, tape)


def _swap(graph: ir.Graph, node: ir.Node, tape: ir.tape.Tape) -> None:
    new = list(tape.nodes)
    result = new[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [node.outputs[0]], [result])


def _name(node: ir.Node, place: int) -> str:
    value = node.inputs[place]
    return f"{node.outputs[0].name}.{'' if value is None else value.name}"


def _initialiser(graph: ir.Graph, name: str, values: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(values, name=name)
    value = ir.Value(
        name=name, const_value=tensor, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype)
    )
    graph.register_initializer(value)
    return value


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)
