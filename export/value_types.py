"""The element type of every value of a graph, operators of ONNX Runtime's own included: no shapes are needed for it."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_INTEGERS = ("Shape", "Size", "NonZero", "ArgMax", "ArgMin")
_BOOLEANS = (
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "Not",
    "And",
    "Or",
    "IsNaN",
    "IsInf",
)


def value_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Follow the types through a graph.

    Args:
        graph: In order.

    Returns:
        ``onnx.TensorProto`` element types by the value's name.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        made = _type_of(node, types)
        types.update(dict.fromkeys((name for name in node.output if name), made))
    return types


def _type_of(node: onnx.NodeProto, types: dict[str, int]) -> int:
    """What a node makes: mostly what it reads first."""
    if node.op_type in _INTEGERS:
        return TensorProto.INT64
    if node.op_type in _BOOLEANS:
        return TensorProto.BOOL
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "Cast":
        return int(attributes["to"])
    if node.op_type in ("Constant", "ConstantOfShape"):
        value = attributes.get("value")
        if value is not None:
            return int(value.data_type)
        return (
            TensorProto.INT64
            if "value_ints" in attributes or "value_int" in attributes
            else TensorProto.FLOAT
        )
    place = 1 if node.op_type == "Where" else 0
    return types[node.input[place]]
