"""Random differentiable augmentation of latents, the same for both sides of a comparison.

The perceptual distance averages over such views, as E-LatentLPIPS does (Kang et al., 2024, section 3.2):
without them a student finds latents that the fixed features cannot tell from the teacher's. One draw a step
is the ensemble.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor


@dataclass(frozen=True)
class AugmentSettings:
    """How far the views may go."""

    flip: bool = True
    """Mirror left and right in half of the views."""
    rotate: float = 15.0
    """Largest rotation either way, degrees."""
    scale: float = 0.2
    """Largest change of size, relative: factors in [1 / (1 + scale), 1 + scale]."""
    translate: float = 0.125
    """Largest shift along each axis, share of the side."""
    cutout: float = 0.25
    """Side of the square that is blanked, share of the side; 0 = none."""


def random_view(settings: AugmentSettings, generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """Draw one view per sample.

    Args:
        settings: How far the views may go.
        generator: On the CPU.
        batch: B.

    Returns:
        theta (B, 2, 3) float32 for `affine_grid`, and the centre of the cutout (B, 2) float32 in [-1, 1].
    """
    draw = torch.rand(batch, 6, generator=generator)
    angle = (draw[:, 0] * 2 - 1) * math.radians(settings.rotate)
    size = (1 + settings.scale) ** (draw[:, 1] * 2 - 1)
    mirror = torch.where((draw[:, 2] < 0.5) & settings.flip, -1.0, 1.0)
    shift = (draw[:, 3:5] * 2 - 1) * (2 * settings.translate)  # the grid's side is 2
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * size * angle.cos(), -size * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * size * angle.sin(), size * angle.cos()
    theta[:, :, 2] = shift
    centre = torch.rand(batch, 2, generator=generator) * 2 - 1
    return theta, centre


def augment(latents: Tensor, theta: Tensor, centre: Tensor, *, cutout: float) -> Tensor:
    """Look at latents through a view. Differentiable, float32.

    Args:
        latents: (B, c, h, w) float32.
        theta: (B, 2, 3), from `random_view`.
        centre: (B, 2), from `random_view`.
        cutout: Side of the blanked square, share of the side; 0 = none.

    Returns:
        (B, c, h, w) float32.
    """
    theta, centre = theta.to(latents.device), centre.to(latents.device)
    grid = functional.affine_grid(theta, list(latents.shape), align_corners=False)
    view = functional.grid_sample(latents, grid, padding_mode="reflection", align_corners=False)
    if cutout <= 0:
        return view
    rows = torch.linspace(-1, 1, latents.shape[2], device=latents.device)
    columns = torch.linspace(-1, 1, latents.shape[3], device=latents.device)
    blank = ((rows[None, :, None] - centre[:, 1, None, None]).abs() < cutout) & (
        (columns[None, None, :] - centre[:, 0, None, None]).abs() < cutout
    )
    return view * (~blank).unsqueeze(1)
