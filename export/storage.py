"""Decides how a graph's weights are stored.

Small graphs hold their weights themselves, as float16 wherever measuring says that nobody can see it. Large ones
keep them in a file beside, as the float32 that is computed with: ONNX Runtime maps it into memory, where float16
would have to be converted, and be there twice.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import onnx
import onnx_ir

from export.float16_weights import store_float16
from export.graphs import GraphSpec
from export.parity import MIN_PSNR_DB, ROUNDED_FACTOR, compare, require
from export.stored import Stored
from export.trace import check_whole, to_proto
from export.upsampling import halve_upsampling
from ragturbo_runtime.files import sync_file, write_bytes
from ragturbo_runtime.manifest import Parity

logger = logging.getLogger(__name__)

GRAPH_FILE, DATA_FILE = "model.onnx", "model.onnx.data"
MAX_INLINE_BYTES = 64 * 2**20
"""Float32 weights of more bytes than this go into a file of their own."""
ALIGNMENT = 4096
"""Of each tensor in that file: a page, so that mapped tensors share none."""
_SMALLEST_EXTERNAL = 1024
"""Weights of fewer bytes stay in the graph."""


def store(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Stored:
    """Write a graph, if it computes what torch computes.

    Args:
        model: From `export.trace.trace`; used up.
        spec: What it must compute.
        folder: Of this graph; it is made.

    Returns:
        What was written.

    Raises:
        ParityError: It is further from torch than its tolerance.
        ExportError: ONNX Runtime cannot load or run it, or it is not whole.
        OutputError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    halve_upsampling(model)
    if weight_bytes(model) > MAX_INLINE_BYTES:
        return _store_beside(model, spec, folder)
    proto, parity = smallest_within_tolerance(to_proto(model, spec), spec)
    path = write_bytes(folder / GRAPH_FILE, proto.SerializeToString(deterministic=True))
    return Stored(path, None, parity, spec.inputs, spec.outputs)


def weight_bytes(model: onnx_ir.Model) -> int:
    """How many bytes a model's initialisers take as they are."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)


def _store_beside(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Stored:
    path, data = write_graph(model, spec, folder)
    parity = compare(path, spec)
    require(spec, parity)
    return Stored(path, data, parity, spec.inputs, spec.outputs)


def write_graph(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> tuple[Path, Path | None]:
    """Write a graph; large weights into a file of their own, and first: then what points to them.

    Args:
        model: What to write; large weights become the file's.
        spec: Its signature.
        folder: Of this graph.

    Returns:
        The graph's file, and that of the weights; None where the graph holds them.

    Raises:
        ExportError: It is not whole.
        OutputError: A file cannot be written.
    """
    data = None
    if weight_bytes(model) > MAX_INLINE_BYTES:
        data = folder / DATA_FILE
        onnx_ir.external_data.unload_from_model(
            model,
            folder,
            DATA_FILE,
            size_threshold_bytes=_SMALLEST_EXTERNAL,
            alignment=ALIGNMENT,
            align_threshold=0,
        )
        sync_file(data)
    proto = to_proto(model, spec)
    path = write_bytes(folder / GRAPH_FILE, proto.SerializeToString(deterministic=True))
    return path, data


def smallest_within_tolerance(model: onnx.ModelProto, spec: GraphSpec) -> tuple[onnx.ModelProto, Parity]:
    """Store the weights as float16 where that keeps the graph near to torch.

    A base that is stored as float16 loses nothing. LoRA, fused into the decoder, and the adapter are rounded:
    that is allowed up to `ROUNDED_FACTOR` times the tolerance, at `MIN_PSNR_DB` or more; otherwise only what
    float16 holds exactly is stored so.

    Args:
        model: A float32 graph.
        spec: What it must compute.

    Returns:
        The graph to ship, and its parity.

    Raises:
        ParityError: The float32 graph itself is further from torch than its tolerance.
        ExportError: ONNX Runtime cannot load or run it.
    """
    exact = compare(model, spec)
    require(spec, exact)
    rounded = store_float16(model, lossless_only=False)
    check_whole(rounded, spec)
    parity = compare(rounded, spec)
    if _within(parity, 1.0):
        return rounded, parity
    if _within(parity, ROUNDED_FACTOR) and (parity.psnr_db or 0.0) >= MIN_PSNR_DB:
        return rounded, dataclasses.replace(parity, atol=(parity.atol or 0.0) * ROUNDED_FACTOR)
    logger.info(
        "%s: float16 weights would change it by %s; stored as float32", spec.name, parity.max_abs_diff
    )
    lossless = store_float16(model, lossless_only=True)
    check_whole(lossless, spec)
    parity = compare(lossless, spec)
    require(spec, parity)
    return lossless, parity


def _within(parity: Parity, factor: float) -> bool:
    difference = math.nan if parity.max_abs_diff is None else parity.max_abs_diff
    return difference <= factor * (parity.atol or 0.0)
