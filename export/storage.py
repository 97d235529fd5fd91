"""Decides how a graph's weights are stored, by measuring: float16 wherever nobody can see it."""

from __future__ import annotations

import dataclasses
import logging
import math

import onnx

from export.float16_weights import store_float16
from export.graphs import GraphSpec
from export.parity import MIN_PSNR_DB, ROUNDED_FACTOR, compare, require
from export.trace import check_whole
from ragturbo_runtime.manifest import Parity

logger = logging.getLogger(__name__)


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
