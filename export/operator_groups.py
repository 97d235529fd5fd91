"""Operators by what could be kept in float32: the same names for torch's operators and for ONNX's.

A graph's ``fp32_ops`` in the manifest are these names.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

ANGLES = "Angles"
"""Sin and Cos, and all that their arguments are computed with: an angle needs its absolute precision."""
ELEMENTWISE = "Elementwise"
MOVEMENT = "Movement"
"""Copies, reshapes, look-ups: they compute nothing, and stay in the type of what they move."""

_ATEN = {
    "Conv": ("convolution", "_convolution", "mkldnn_convolution"),
    "MatMul": ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"),
    "MultiHeadAttention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_fused_attention_overrideable",
    ),
    "Softmax": ("_softmax", "_safe_softmax", "_log_softmax"),
    "GroupNorm": ("native_group_norm", "native_batch_norm"),
    "LayerNormalization": ("native_layer_norm",),
    "Gelu": ("gelu",),
    "Reduce": ("sum", "mean", "norm", "linalg_vector_norm", "amax", "amin", "prod", "var", "std", "cumsum"),
    MOVEMENT: (
        *(
            "view",
            "_unsafe_view",
            "reshape",
            "_reshape_alias",
            "t",
            "transpose",
            "permute",
            "expand",
            "alias",
        ),
        *(
            "select",
            "slice",
            "split",
            "split_with_sizes",
            "unbind",
            "unsqueeze",
            "squeeze",
            "unfold",
            "detach",
        ),
        *(
            "cat",
            "stack",
            "clone",
            "copy_",
            "contiguous",
            "repeat",
            "index",
            "index_select",
            "gather",
            "embedding",
        ),
        *("constant_pad_nd", "upsample_nearest2d", "_upsample_nearest_exact2d", "masked_fill", "lift_fresh"),
        *("as_strided", "flip", "roll", "fill_", "zeros_like", "ones_like", "empty_like", "full_like"),
    ),
}
_GROUPS = {name: group for group, names in _ATEN.items() for name in names}

ONNX_OPS: dict[str, tuple[str, ...]] = {
    "Conv": ("Conv", "NhwcConv", "ConvTranspose"),
    "MatMul": ("MatMul", "Gemm", "FusedMatMul"),
    "MultiHeadAttention": ("MultiHeadAttention", "Attention"),
    "Softmax": ("Softmax", "LogSoftmax"),
    "GroupNorm": ("GroupNorm", "SkipGroupNorm", "InstanceNormalization", "BatchNormalization"),
    "LayerNormalization": ("LayerNormalization", "SkipLayerNormalization"),
    "Gelu": ("Gelu", "BiasGelu", "FastGelu", "BiasSplitGelu", "Erf"),
    "Reduce": ("ReduceSum", "ReduceMean", "ReduceL2", "ReduceMax", "ReduceMin", "ReduceProd", "CumSum"),
    MOVEMENT: (
        *("Reshape", "Transpose", "Expand", "Slice", "Split", "Concat", "Unsqueeze", "Squeeze", "Identity"),
        *("Gather", "GatherND", "GatherElements", "Pad", "Resize", "Tile", "Flatten"),
    ),
}
"""What each group is in ONNX; everything else that has a float result is `ELEMENTWISE`."""
_ONNX_GROUPS = {name: group for group, names in ONNX_OPS.items() for name in names}


def group_of_aten(name: str) -> str:
    """Return the group of one of torch's operators, named without ``aten::`` and without its overload."""
    return _GROUPS.get(name, ELEMENTWISE)


def group_of_onnx(op_type: str) -> str:
    """Return the group of one of ONNX's operators."""
    return _ONNX_GROUPS.get(op_type, ELEMENTWISE)


def kept_nodes(graph: onnx.GraphProto, groups: Iterable[str], types: dict[str, int]) -> list[str]:
    """Find the nodes that stay in float32.

    Args:
        graph: In order; every node has a name of its own.
        groups: What is kept.
        types: Of every value, from `export.value_types.value_types`.

    Returns:
        Names of these nodes, and of those that only move what they made.
    """
    wanted = set(groups)
    angles = _angle_nodes(graph, types) if ANGLES in wanted else set()
    wide: set[str] = set()
    kept = []
    for node in graph.node:
        group = group_of_onnx(node.op_type)
        moves = group == MOVEMENT and any(name in wide for name in node.input)
        if node.name in angles or group in wanted or moves:
            wide.update(name for name in node.output if types.get(name) == onnx.TensorProto.FLOAT)
            kept.append(node.name)
    return kept


def _angle_nodes(graph: onnx.GraphProto, types: dict[str, int]) -> set[str]:
    """Sin, Cos, and every node before them that makes a float."""
    makers = {output: node for node in graph.node for output in node.output}
    waiting = [node for node in graph.node if node.op_type in ("Sin", "Cos")]
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.name not in found and types.get(node.output[0]) == onnx.TensorProto.FLOAT:
            found.add(node.name)
            waiting += [makers[name] for name in node.input if name in makers]
    return found
