"""Operators joined for CUDA, by ONNX Runtime's own library.

Group norm takes in its activation and the sum before it, layer norm the sum before it, a gated feed-forward becomes
one operator, and convolutions read channels-last. Some of these kernels take only certain sizes, and say so when they
run or, worse, compute nonsense: what they cannot take is left as it is.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping

import onnx
from onnx import helper

from export.errors import ExportError
from export.stand_ins import Weight, find_again, number_kernels

CONTRIB = "com.microsoft"
SPLIT_GELU_SIZES = (2560, 5120, 10240)  # onnxruntime, contrib_ops/cuda/diffusion/bias_split_gelu.cc
_TEXT = "text_encoder"


def fuse(
    model: onnx.ModelProto, graph: str, taken: Mapping[str, Weight]
) -> tuple[onnx.ModelProto, dict[str, Weight]]:
    """Join operators.

    Args:
        model: A float32 graph with stand-ins; used up.
        graph: Its name in the manifest, which says what the library looks for.
        taken: What stands in, from `take_weights`.

    Returns:
        The graph, in float32, for the CUDA provider alone; and its weights by their names there.

    Raises:
        ExportError: The library failed.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    kind = (
        "clip" if graph == _TEXT else "unet"
    )  # the library's "vae" differs in attention alone, which is done
    options = FusionOptions(kind)
    options.enable_attention = False  # is one operator already, or has a form that the library does not know
    options.enable_nhwc_conv = False  # later, when shapes have been inferred
    numbered: list[str] = []
    try:
        quiet = io.StringIO()  # it prints, and draws a progress bar
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            fused = optimize_model(model, model_type=kind, opt_level=0, optimization_options=options)
            if kind == "unet":
                fuse_split_gelu(fused.model.graph)
                numbered = number_kernels(fused.model, taken)
                fused.convert_conv_to_nhwc()
                fused.merge_adjacent_transpose()
                fused.fuse_bias_add()
                fused.postprocess()
            fused.topological_sort()
    except Exception as error:  # the library asserts, and raises what it happens to meet
        raise ExportError(f"{graph}: ONNX Runtime's library cannot fuse it: {error}") from error
    result: onnx.ModelProto = fused.model
    _remove_empty_casts(result.graph)
    if not any(item.domain == CONTRIB for item in result.opset_import):
        result.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return result, find_again(result, taken, numbered)


def fuse_split_gelu(graph: onnx.GraphProto) -> int:
    """Join bias, halves, Gelu and product of a gated feed-forward (GEGLU: Shazeer, 2020).

    The library looks for the halves as the older exporter cut them.

    Args:
        graph: Changed in place.

    Returns:
        How many were joined.
    """
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    count = 0
    for split in [node for node in graph.node if node.op_type == "Split"]:
        found = _gated(split, makers, readers, constants)
        if found is None:
            continue
        add, gelu, product = found
        bias = next(name for name in add.input if name in constants)
        source = next(name for name in add.input if name not in constants)
        name, output = f"BiasSplitGelu_{count}", product.output[0]
        for node in (add, split, gelu):
            graph.node.remove(node)
        product.CopyFrom(
            helper.make_node("BiasSplitGelu", [source, bias], [output], name=name, domain=CONTRIB)
        )
        count += 1
    return count


def _gated(
    split: onnx.NodeProto,
    makers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    constants: Mapping[str, list[int]],
) -> tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto] | None:
    """The Add before, the Gelu and the Mul behind a Split, if they are a feed-forward that the kernel can take."""
    add = makers.get(split.input[0])
    if add is None or add.op_type != "Add" or len(split.output) != 2 or len(readers[add.output[0]]) != 1:
        return None
    sizes = [constants[name] for name in add.input if name in constants]
    if sizes not in [[[size]] for size in SPLIT_GELU_SIZES]:
        return None
    behind = [readers.get(name, []) for name in split.output]
    if [len(nodes) for nodes in behind] != [1, 1] or behind[1][0].op_type != "Gelu":
        return None
    gelu, product = behind[1][0], behind[0][0]
    multiplied = product.op_type == "Mul" and set(product.input) == {split.output[0], gelu.output[0]}
    return (add, gelu, product) if multiplied and len(readers[gelu.output[0]]) == 1 else None


def _remove_empty_casts(graph: onnx.GraphProto) -> None:
    """The library casts what convolutions read to float32, which it is: everything that they read is."""
    convolved = {node.input[0] for node in graph.node if node.op_type == "NhwcConv"}
    kept: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in convolved:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    graph.ClearField("node")
    graph.node.extend(copies)
