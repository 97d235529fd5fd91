"""Direct injection: the reference's h mixed into the target's by spherical interpolation, without any training.

As in Asyrp (Kwon et al. 2023) and InjectFusion (Jeong et al. 2024) the whole of h is one vector per sample, and the
reference is scaled to the target's norm first: the result keeps that norm. What they leave open (parallel and opposite
vectors, a norm of zero, several references) is said below.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.adapter import outer_weight

DEFAULT_SHARE = 0.2
"""Of the references, at lambda 1: the paper's fixed weights are 0.8 for the target and this for the injected side."""
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


def slerp(h: Tensor, reference: Tensor, strength: Tensor | float) -> Tensor:
    """Turn h towards a reference.

    Args:
        h: (B, C, H, W) float32.
        reference: (B, C, H, W) float32; its norm does not matter, one of 0 leaves h as it is.
        strength: Share of the injected side, in [0, 1]; 0 gives h bit for bit. A number, or (B,) float32, which is not
            checked: a graph that is traced cannot look at its values.

    Returns:
        (B, C, H, W) float32 of h's norm.

    Raises:
        ValueError: A strength given as a number is out of range.
    """
    if not isinstance(strength, Tensor) and not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be in [0, 1]")
    share = torch.as_tensor(strength, dtype=torch.float32, device=h.device).reshape(-1, 1)
    target, other = h.float().flatten(1), reference.float().flatten(1)
    norm, other_norm = target.norm(dim=1, keepdim=True), other.norm(dim=1, keepdim=True)
    tiny = torch.finfo(torch.float32).tiny
    first, second = target / norm.clamp(min=tiny), other / other_norm.clamp(min=tiny)
    cosine = (first * second).sum(dim=1, keepdim=True).clamp(-LARGEST_COSINE, LARGEST_COSINE)
    angle = cosine.acos()
    mixed = (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()
    length = mixed.norm(dim=1, keepdim=True)
    usable = (share > 0) & (norm > 0) & (other_norm > 0) & (length > SMALLEST_NORM)
    return torch.where(usable, mixed / length.clamp(min=tiny) * norm, target).reshape(h.shape)


class SlerpAdapter(nn.Module):
    """Direct injection in the place of a trained `HSpaceAdapter`: no weights, any base, unpooled references."""

    def __init__(self, share: float = DEFAULT_SHARE) -> None:
        """Fix what strength 1 means.

        Args:
            share: Of the injected side at strength 1 and an outer lambda of 1, in (0, 1].

        Raises:
            ValueError: It is out of range.
        """
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"the share of the references is {share}; it must be above 0 and at most 1")
        self.share = share

    def inject(
        self, h: Tensor, reference_h: Tensor, reference_weight: Tensor, strength: Tensor | float = 1.0
    ) -> Tensor:
        """Turn h towards the references by clip(strength * share * lambda, 0, 1) of the angle between them.

        Args:
            h: (B, C, H, W) float32.
            reference_h: (B, K, H * W, C) features of K >= 1 references, row-major, float32.
            reference_weight: (B, K) lambda_i in [0, 1]; 0 leaves a reference out.
            strength: The user's factor, >= 0: a number or (B,). 0 gives h bit for bit, as lambdas of 0 do.

        Returns:
            (B, C, H, W) float32 of h's norm.
        """
        batch, references = reference_h.shape[:2]
        maps = reference_h.transpose(2, 3).reshape(batch, references, *h.shape[1:])  # (B, K, C, H, W)
        share = (outer_weight(reference_weight) * strength * self.share).clamp(0, 1)
        return slerp(h, combine_references(maps, reference_weight), share)
