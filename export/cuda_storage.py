"""Writes a graph for CUDA: fused, in float16 but for what measuring keeps in float32, and checked on the CPU."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

import onnx_ir

from export.checking_copy import checking_copy
from export.errors import ParityError
from export.float16_graph import half_spec, to_float16, wide_spec
from export.fusion import fuse
from export.graphs import GraphSpec
from export.parity import compare
from export.precision import MIN_PSNR_DB, choose_precision
from export.stand_ins import put_back, take_weights
from export.storage import write_graph
from export.stored import Stored
from export.trace import check_whole, to_proto
from ragturbo_runtime.manifest import Parity


def store_cuda(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Stored:
    """Write a graph, if it computes what torch computes.

    Args:
        model: From `export.trace.trace`, with `export.translations.cuda_translations`; used up.
        spec: What it must compute, in float32.
        folder: Of this graph; it is made.

    Returns:
        What was written. Its parity is the worse of two: of float16's rounding, which is measured in torch, and of
        the graph itself, rewritten for the CPU.

    Raises:
        ParityError: Either is below `export.precision.MIN_PSNR_DB`.
        ExportError: ONNX Runtime's library or ONNX Runtime fails, or the graph is not whole.
        OutputError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    precision = choose_precision(spec)
    taken = take_weights(model)
    fused, weights = fuse(to_proto(model, spec), spec.name, taken)
    check_whole(fused, spec)
    half = half_spec(spec)
    shipped = put_back(to_float16(fused, spec.name, precision.fp32), weights)
    path, data = write_graph(shipped, half, folder)
    wired = _check(shipped, spec, folder)
    parity = _worse(precision.parity, wired)
    return Stored(
        path, data, parity, half.inputs, half.outputs, dataclasses.replace(precision, parity=parity)
    )


def _check(shipped: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Parity:
    """Compare the graph, rewritten for the CPU, with torch; a large one from a file, as a user's would be read."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".check") as place:
        wide = dataclasses.replace(wide_spec(spec), chain_batches=False)  # torch draws the chain's pictures
        path, _ = write_graph(checking_copy(shipped), wide, Path(place))
        parity = compare(path, wide)
    difference = math.nan if parity.max_abs_diff is None else parity.max_abs_diff
    ratio = math.nan if parity.psnr_db is None else parity.psnr_db
    if not (math.isfinite(difference) and ratio >= MIN_PSNR_DB):
        raise ParityError(spec.name, max_abs_diff=difference, atol=None, psnr_db=ratio)
    return parity


def _worse(rounded: Parity, wired: Parity) -> Parity:
    """Both are numbers by now."""
    return Parity(
        max(rounded.max_abs_diff or 0.0, wired.max_abs_diff or 0.0),
        min(rounded.psnr_db or 0.0, wired.psnr_db or 0.0),
        None,
    )
