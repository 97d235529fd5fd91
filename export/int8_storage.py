"""Writes a graph with int8 weights, for machines that lack memory, if it still draws nearly what torch draws."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import onnx_ir

from export.errors import ParityError
from export.graphs import GraphSpec
from export.int8_weights import quantise_weights
from export.parity import compare
from export.storage import store, write_graph
from export.stored import Stored
from export.upsampling import halve_upsampling

MIN_PSNR_DB = 35.0
"""Needed of every output, and of the pictures of the whole chain."""


def store_int8(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Stored:
    """Write a graph with int8 weights; an autoencoder's as it is.

    An autoencoder holds one in twenty of SD-Turbo's weights, and takes most of its time: there is nothing to gain.

    Args:
        model: From `export.trace.trace`; used up.
        spec: What it must compute.
        folder: Of this graph; it is made.

    Returns:
        What was written.

    Raises:
        ParityError: An output is below `MIN_PSNR_DB`, or an autoencoder's beyond its tolerance.
        ExportError: ONNX Runtime cannot load or run it, or it is not whole.
        OutputError: A file cannot be written.
    """
    if spec.name.startswith("vae_"):
        return store(model, spec, folder)
    folder.mkdir(parents=True, exist_ok=True)
    halve_upsampling(model)
    quantise_weights(model)
    path, data = write_graph(model, spec, folder)
    parity = dataclasses.replace(compare(path, spec), atol=None)  # it is judged by its PSNR
    difference, ratio = parity.max_abs_diff or 0.0, parity.psnr_db or 0.0
    if not (math.isfinite(difference) and ratio >= MIN_PSNR_DB):
        raise ParityError(spec.name, max_abs_diff=difference, atol=None, psnr_db=ratio)
    return Stored(path, data, parity, spec.inputs, spec.outputs)
