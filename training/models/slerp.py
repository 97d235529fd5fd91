"""Direct injection: the reference's h mixed into the target's by spherical interpolation, without any training.

As in Asyrp (Kwon et al. 2023) and InjectFusion (Jeong et al. 2024) the whole of h is one vector per sample, and the
reference is scaled to the target's norm first: the result keeps that norm. What they leave open (parallel and opposite
vectors, a norm of zero, several references) is said below.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_COSINE = 1 - 1e-6
"""Nearly parallel or opposite vectors count as having this cosine: the sine that is divided by is never 0."""
SMALLEST_NORM = 1e-4
"""Of a mix of two directions: what is smaller is the middle between opposite ones, and points nowhere."""


def combine_references(reference_h: Tensor, reference_weight: Tensor) -> Tensor:
    """Mix several references into one: the mean of their directions, weighed by lambda.

    Args:
        reference_h: (B, K, C, H, W) float32.
        reference_weight: (B, K) lambdas in [0, 1]; 0 leaves a reference out.

    Returns:
        (B, C, H, W) float32; zero where all are left out.
    """
    flat = reference_h.flatten(2)
    directions = flat / flat.norm(dim=2, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    weighed: Tensor = (directions * reference_weight.clamp(min=0).unsqueeze(2)).sum(dim=1)
    return weighed.reshape(reference_h.shape[0], *reference_h.shape[2:])


def slerp(h: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Turn h towards a reference.

    Args:
        h: (B, C, H, W) float32.
        reference: (B, C, H, W) float32; its norm does not matter, one of 0 leaves h as it is.
        strength: Share of the injected side, in [0, 1]; 0 gives h bit for bit.

    Returns:
        (B, C, H, W) float32 of h's norm.

    Raises:
        ValueError: The strength is out of range.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be in [0, 1]")
    if strength == 0:
        return h
    target, other = h.float().flatten(1), reference.float().flatten(1)
    norm, other_norm = target.norm(dim=1, keepdim=True), other.norm(dim=1, keepdim=True)
    tiny = torch.finfo(torch.float32).tiny
    first, second = target / norm.clamp(min=tiny), other / other_norm.clamp(min=tiny)
    cosine = (first * second).sum(dim=1, keepdim=True).clamp(-LARGEST_COSINE, LARGEST_COSINE)
    angle = cosine.acos()
    mixed = (((1 - strength) * angle).sin() * first + (strength * angle).sin() * second) / angle.sin()
    length = mixed.norm(dim=1, keepdim=True)
    usable = (norm > 0) & (other_norm > 0) & (length > SMALLEST_NORM)
    return torch.where(usable, mixed / length.clamp(min=tiny) * norm, target).reshape(h.shape)
