"""The gate of every adapter run, on held-out pairs: does it look at its references?

Loss with the right references must be clearly below the loss with wrong ones, and not above the loss with
none.
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
    """Held-out smooth-L1 to the teacher's latents."""

    losses: dict[str, dict[str, float]]
    """By prompts ("plain", "masked", "all") and references ("right", "wrong", "none"); "all" mixes as training does."""
    right_minus_wrong: tuple[float, float]
    """Mean of the paired differences over "all", and its standard error."""
    right_minus_none: tuple[float, float]
    """As above."""

    @property
    def passed(self) -> bool:
        """Right references are below wrong ones by more than two standard errors, and not above none."""
        mean, error = self.right_minus_wrong
        return mean + STANDARD_ERRORS * error < 0 and self.right_minus_none[0] <= 0

    def __str__(self) -> str:
        """A table."""
        lines = ["held-out loss     right     wrong      none"]
        lines += [
            f"{prompts + ' prompts':<15}" + "".join(f"{row[kind]:>10.5f}" for kind in get_args(References))
            for prompts, row in self.losses.items()
        ]
        for name, (mean, error) in (("wrong", self.right_minus_wrong), ("none", self.right_minus_none)):
            lines.append(f"right - {name}: {mean:+.5f} +- {STANDARD_ERRORS * error:.5f}")
        lines.append(f"gate {'passed' if self.passed else 'NOT passed'}")
        return "\n".join(lines)

    def as_record(self) -> dict[str, object]:
        """For the log."""
        return {
            "losses": self.losses,
            "right_minus_wrong": self.right_minus_wrong,
            "right_minus_none": self.right_minus_none,
            "passed": self.passed,
        }


@torch.no_grad()
def measure_gate(
    batcher: Batcher, draw: Callable[[Batch], Tensor], *, masked_share: float, beta: float, batch: int = 64
) -> Gate:
    """Measure a student on all pairs of a batcher, with right, wrong and no references from the same noise.

    Args:
        batcher: Of the held-out pairs.
        draw: Gives the student's latents (B, c, h, w) float32.
        masked_share: Share of masked prompts in "all": training's.
        beta: Of the smooth-L1.
        batch: Pairs at a time.
    """
    losses: dict[str, dict[References, Tensor]] = {
        prompts: {
            kind: _losses(batcher, draw, kind, masked=prompts == "masked", beta=beta, batch=batch)
            for kind in get_args(References)
        }
        for prompts in ("plain", "masked")
    }
    losses["all"] = {
        kind: (1 - masked_share) * losses["plain"][kind] + masked_share * losses["masked"][kind]
        for kind in get_args(References)
    }
    whole = losses["all"]
    return Gate(
        {
            prompts: {kind: float(values.mean()) for kind, values in row.items()}
            for prompts, row in losses.items()
        },
        _mean_and_error(whole["right"] - whole["wrong"]),
        _mean_and_error(whole["right"] - whole["none"]),
    )


def _losses(
    batcher: Batcher,
    draw: Callable[[Batch], Tensor],
    kind: References,
    *,
    masked: bool,
    beta: float,
    batch: int,
) -> Tensor:
    """(N,) float32, one loss a pair."""
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


def _mean_and_error(differences: Tensor) -> tuple[float, float]:
    return float(differences.mean()), float(differences.std()) / math.sqrt(len(differences))
