"""Does a graph compute what torch computes? Measured with ONNX Runtime on the CPU, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.errors import ExportError, ParityError
from export.graphs import COMPARED_SIZES, GraphSpec
from ragturbo_runtime.manifest import Parity

MIN_PSNR_DB = 60.0
"""Needed of a graph with rounded weights: rounding a picture to 8 bits is 59 dB."""
ROUNDED_FACTOR = 30.0
"""How much further from torch than its tolerance a graph with rounded weights may be."""
_SEEDS = (1, 2)


def compare(model: onnx.ModelProto | Path, spec: GraphSpec) -> Parity:
    """Run a graph and torch on the same inputs, at batch 1 and 2, from two seeds; a large one from one seed.

    A large one that the chain runs at batch 2 anyway is compared at batch 1 alone.

    Args:
        model: The graph, or its file; a large one has its weights in another, beside it.
        spec: What it must compute.

    Returns:
        The worst of all outputs and runs: largest absolute difference, PSNR in dB (inf where equal), and the
        tolerance in absolute terms.

    Raises:
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    session = _Session(model, spec)
    is_large = isinstance(model, Path) and any(model.parent.glob("*.data"))
    differences, ratios, allowed = [], [], []
    for sizes in COMPARED_SIZES[:1] if is_large and spec.chain_batches else COMPARED_SIZES:
        for seed in _SEEDS[:1] if is_large else _SEEDS:
            for ours, theirs in zip(*_both(session, spec, sizes, seed), strict=True):
                differences.append(max_abs_diff(ours, theirs))
                ratios.append(psnr_db(ours, theirs))
                allowed.append(spec.atol * max(1.0, float(np.abs(theirs).max())))
    # numpy's max and min, unlike Python's, keep a NaN
    return Parity(
        max_abs_diff=float(np.max(differences)), psnr_db=float(np.min(ratios)), atol=float(np.min(allowed))
    )


def require(spec: GraphSpec, parity: Parity) -> None:
    """Refuse a graph that is further from torch than its tolerance.

    Args:
        spec: The graph.
        parity: From `compare`.

    Raises:
        ParityError: It is, or a value was not finite.
    """
    difference = math.nan if parity.max_abs_diff is None else parity.max_abs_diff
    if not difference <= (parity.atol or 0.0):  # NaN is not
        ratio = math.nan if parity.psnr_db is None else parity.psnr_db
        raise ParityError(spec.name, max_abs_diff=difference, atol=parity.atol, psnr_db=ratio)


def max_abs_diff(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest absolute difference; NaN if a value is not finite."""
    return float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())


def psnr_db(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio in dB, the peak being the range of `theirs`.

    It is inf if they are equal, and NaN if a value is not finite.
    """
    error = float(np.mean(np.square(ours.astype(np.float64) - theirs.astype(np.float64))))
    if error == 0.0:
        return math.inf
    if not math.isfinite(error):
        return math.nan
    return 20.0 * math.log10(max(float(np.ptp(theirs)), 1e-12) / math.sqrt(error))


class _Session:
    """One graph in ONNX Runtime, on the CPU."""

    def __init__(self, model: onnx.ModelProto | Path, spec: GraphSpec) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave idle cores to others
        options.enable_mem_pattern = False  # at 512 x 512 pixels it would double the memory
        self._names = [tensor.name for tensor in spec.inputs]
        self._graph = spec.name
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, Path) else model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ExportError(f"{spec.name}: ONNX Runtime cannot load it: {error}") from error

    def run(self, inputs: tuple[torch.Tensor, ...]) -> list[NDArray[np.float32]]:
        feeds = {name: tensor.numpy() for name, tensor in zip(self._names, inputs, strict=True)}
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, feeds)
        except Exception as error:
            raise ExportError(f"{self._graph}: ONNX Runtime cannot run it: {error}") from error
        return outputs


def _both(
    session: _Session, spec: GraphSpec, sizes: Mapping[str, int], seed: int
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    theirs = [tensor.numpy() for tensor in spec.expected(sizes, seed)]
    return session.run(spec.example(sizes, seed)), theirs
