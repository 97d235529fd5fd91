"""The gate of every adapter run, on held-out pairs: does it look at its references?

Loss with the right references must be clearly below the loss with wrong ones, and not above the loss with
none. Where there are real pairs with things that only the library shows, it must be so for them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.ladd.batches import Batch, Batcher, References

STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Gate:
    """Held-out smooth-L1 to the targets."""

    losses: dict[str, dict[str, float]]
    """By prompts ("plain", "masked", "all", perhaps "unknown") and references ("right", "wrong", "none").

    "all" mixes as training does; "unknown" are those with things that only the library shows."""
    differences: dict[str, dict[str, tuple[float, float]]]
    """By "all" (and "unknown") and "right_minus_wrong" or "right_minus_none": mean of the paired differences, and its
    standard error."""

    @property
    def passed(self) -> bool:
        """Right references are below wrong ones by more than two standard errors, and not above none."""
        return all(
            row["right_minus_wrong"][0] + STANDARD_ERRORS * row["right_minus_wrong"][1] < 0
            and row["right_minus_none"][0] <= 0
            for row in self.differences.values()
        )

    def __str__(self) -> str:
        """A table."""
        lines = ["held-out loss     right     wrong      none"]
        lines += [
            f"{prompts + ' prompts':<15}" + "".join(f"{row[kind]:>10.5f}" for kind in get_args(References))
            for prompts, row in self.losses.items()
        ]
        for prompts, row in self.differences.items():
            for name, (mean, error) in row.items():
                words = name.replace("_minus_", " - ")
                lines.append(f"{prompts}, {words}: {mean:+.5f} +- {STANDARD_ERRORS * error:.5f}")
        lines.append(f"gate {'passed' if self.passed else 'NOT passed'}")
        return "\n".join(lines)

    def as_record(self) -> dict[str, object]:
        """For the log."""
        return {
            "losses": self.losses,
            "differences": self.differences,
            "passed": self.passed,
        }


@torch.no_grad()
def measure_gate(
    batcher: Batcher,
    draw: Callable[[Batch], Tensor],
    *,
    masked_share: float,
    beta: float,
    unknown: Batcher | None = None,
    batch: int = 64,
) -> Gate:
    """Measure a student on all pairs of a batcher, with right, wrong and no references from the same noise.

    Args:
        batcher: Of the held-out pairs.
        draw: Gives the student's latents (B, c, h, w) float32.
        masked_share: Share of masked prompts in "all": training's.
        beta: Of the smooth-L1.
        unknown: Of held-out real pairs with things that only the library shows; their names are not masked: nobody
            knows them.
        batch: Pairs at a time.
    """
    losses = {
        prompts: _by_references(batcher, draw, masked=prompts == "masked", beta=beta, batch=batch)
        for prompts in ("plain", "masked")
    }
    losses["all"] = {
        kind: (1 - masked_share) * losses["plain"][kind] + masked_share * losses["masked"][kind]
        for kind in get_args(References)
    }
    if unknown is not None:
        losses["unknown"] = _by_references(unknown, draw, masked=False, beta=beta, batch=batch)
    means = {
        prompts: {kind: float(values.mean()) for kind, values in row.items()}
        for prompts, row in losses.items()
    }
    compared = [prompts for prompts in ("all", "unknown") if prompts in losses]
    return Gate(means, {prompts: _differences(losses[prompts]) for prompts in compared})


def _by_references(
    batcher: Batcher, draw: Callable[[Batch], Tensor], *, masked: bool, beta: float, batch: int
) -> dict[str, Tensor]:
    return {
        kind: pair_losses(batcher, draw, kind, masked=masked, beta=beta, batch=batch)
        for kind in get_args(References)
    }


def _differences(losses: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    return {
        f"right_minus_{kind}": mean_and_error(losses["right"] - losses[kind]) for kind in ("wrong", "none")
    }


def pair_losses(
    batcher: Batcher,
    draw: Callable[[Batch], Tensor],
    kind: References,
    *,
    masked: bool,
    beta: float,
    batch: int,
) -> Tensor:
    """Measure each pair of a batcher.

    Args:
        batcher: Of the pairs.
        draw: Gives the latents (B, c, h, w) float32 of a batch.
        kind: Which references they get.
        masked: Whether names are masked, the same ones for each kind.
        beta: Of the smooth-L1.
        batch: Pairs at a time.

    Returns:
        (N,) float32, one loss a pair.
    """
    parts = []
    for first in range(0, len(batcher.pairs), batch):
        indices = list(range(first, min(first + batch, len(batcher.pairs))))
        # The same seed for each kind: the same names are masked.
        dealt = batcher.held_out(indices, kind, masked=masked, seed=first)
        drawn = draw(dealt).cpu()
        parts.append(
            functional.smooth_l1_loss(drawn, dealt.target, beta=beta, reduction="none").mean(dim=(1, 2, 3))
        )
    return torch.cat(parts)


def mean_and_error(differences: Tensor) -> tuple[float, float]:
    """The mean of paired differences (N,), and its standard error."""
    return float(differences.mean()), float(differences.std()) / math.sqrt(len(differences))
