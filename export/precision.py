"""Which operators of a graph stay in float32: as few as its accuracy needs, chosen by measuring it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from export.errors import ParityError
from export.graphs import CONTEXT_LENGTH, GraphSpec
from export.operator_groups import MOVEMENT
from export.parity import max_abs_diff, psnr_db
from export.rounding import Recording, Rounding, rounded
from ragturbo_runtime.manifest import Parity

MIN_PSNR_DB = 50.0
"""Needed of every output: rounding a picture to 8 bits is 59 dB, and a photograph is seen to be changed below 40."""
_SMALLEST_GAIN_DB = 0.1
_SEED = 1


@dataclass(frozen=True)
class Precision:
    """How a graph is computed in float16.

    Attributes:
        fp32: Groups of `export.operator_groups` that stay in float32, in the order in which they were chosen.
        angles: Places of calls that "Angles" stands for.
        parity: How near it came to torch so, by `export.rounding`.
    """

    fp32: tuple[str, ...]
    angles: frozenset[int]
    parity: Parity

    def rounding(self) -> Rounding:
        """Return a mode that computes so, for one call."""
        return Rounding(frozenset(self.fp32), self.angles)


def choose_precision(spec: GraphSpec) -> Precision:
    """Keep what overflows first, until nothing does; then, cheapest first, what brings the result near enough.

    Args:
        spec: The graph.

    Returns:
        What is kept, and what was measured.

    Raises:
        ParityError: torch's own result is not finite, or no choice is within `MIN_PSNR_DB`.
    """
    measured = _Measured(spec)
    kept: list[str] = []
    while not _passes(parity := measured.parity(kept)):
        # A sum that overflows need not show: what is divided by it is 0.
        found = measured.culprit(kept) or measured.most_helpful(kept, parity)
        if found is None:
            raise _hopeless(spec, parity, kept)
        kept.append(found)
    return Precision(tuple(kept), measured.angles, parity)


class _Measured:
    """A graph's module, its inputs, and what it should give."""

    def __init__(self, spec: GraphSpec) -> None:
        self._module = spec.module
        # Timesteps differ within a batch: one for noise, one for references.
        batch = 2 if any(tensor.name == "timestep" for tensor in spec.inputs) else 1
        sizes: Mapping[str, int] = {"batch": batch, "length": CONTEXT_LENGTH, "references": 4}
        self._inputs = spec.example(sizes, _SEED)
        recording = Recording()
        with torch.no_grad(), recording:
            outputs = self._module(*self._inputs)
        if spec.reference is spec.module:
            spec.remember(sizes, _SEED, outputs)
        self._exact = spec.expected(sizes, _SEED)
        if not all(bool(tensor.isfinite().all()) for tensor in self._exact):
            raise ParityError(
                spec.name,
                max_abs_diff=math.nan,
                atol=None,
                psnr_db=math.nan,
                way_out="look for NaN in its weights",
            )
        self.angles = frozenset(recording.angles)
        self._calls = recording.calls

    def parity(self, kept: list[str]) -> Parity:
        """The worst of all outputs."""
        outputs = self._run(Rounding(frozenset(kept), self.angles))
        pairs = [(ours.numpy(), exact.numpy()) for ours, exact in zip(outputs, self._exact, strict=True)]
        with np.errstate(invalid="ignore", over="ignore"):
            differences = [max_abs_diff(*pair) for pair in pairs]
            return Parity(float(np.max(differences)), float(np.min([psnr_db(*pair) for pair in pairs])), None)

    def culprit(self, kept: list[str]) -> str | None:
        """What makes the first infinite value."""
        mode = Rounding(frozenset(kept), self.angles, blame=True)
        self._run(mode)
        return mode.culprit

    def most_helpful(self, kept: list[str], before: Parity) -> str | None:
        """The rarest group that is enough; if none is, the one that gains most."""
        best, best_psnr = None, (before.psnr_db or 0.0) + _SMALLEST_GAIN_DB
        for group, _ in sorted(self._calls.items(), key=lambda item: item[1]):
            if group in kept or group == MOVEMENT:
                continue
            parity = self.parity([*kept, group])
            if _passes(parity):
                return group
            if (parity.psnr_db or 0.0) > best_psnr:
                best, best_psnr = group, parity.psnr_db or 0.0
        return best

    def _run(self, mode: Rounding) -> list[Tensor]:
        with torch.no_grad():
            inputs = [mode.take(tensor) for tensor in self._inputs]
            with mode:
                outputs = _outputs(self._module(*inputs))
        return [rounded(tensor) for tensor in outputs]


def _outputs(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _passes(parity: Parity) -> bool:
    difference, ratio = parity.max_abs_diff, parity.psnr_db
    return difference is not None and math.isfinite(difference) and ratio is not None and ratio >= MIN_PSNR_DB


def _hopeless(spec: GraphSpec, parity: Parity, kept: list[str]) -> ParityError:
    held = f"with {', '.join(kept)} in float32" if kept else "with nothing in float32"
    return ParityError(
        spec.name,
        max_abs_diff=parity.max_abs_diff if parity.max_abs_diff is not None else math.nan,
        atol=None,
        psnr_db=parity.psnr_db if parity.psnr_db is not None else math.nan,
        way_out=f"float16 {held} needs {MIN_PSNR_DB:g} dB, and keeping more does not help; export --flavour portable",
    )
