"""The losses of ImageRAGTurbo, section 3.4: hinge, smooth-L1, perceptual distance.

All take float32 and return a scalar float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor


def discriminator_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], misaligned: Sequence[Tensor]
) -> Tensor:
    """Hinge loss of the heads (Lim and Ye, 2017), with misaligned prompts as a second kind of fake (Reed et al., 2016).

    mean over heads of  E[relu(1 - D(real))] + (E[relu(1 + D(fake))] + E[relu(1 + D(misaligned))]) / 2;
    without misaligned logits the second term is E[relu(1 + D(fake))] alone.

    Args:
        real: Per head, logits of any shape for teacher latents with their own prompt.
        fake: Per head, logits for the student's latents.
        misaligned: Per head, logits for teacher latents with another prompt; empty to leave the term out.
    """
    losses = []
    for head, logits in enumerate(real):
        against = functional.relu(1 + fake[head]).mean()
        if misaligned:
            against = (against + functional.relu(1 + misaligned[head]).mean()) / 2
        losses.append(functional.relu(1 - logits).mean() + against)
    return torch.stack(losses).mean()


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """-E[D(fake)], mean over heads (the paper sums; the mean keeps the weight free of their number).

    Args:
        fake: Per head, logits for the student's latents.
    """
    return -torch.stack([logits.mean() for logits in fake]).mean()


def smooth_l1(denoised: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    """Huber loss to the teacher's latents of the same noise: d^2 / (2 beta) below beta, |d| - beta / 2 above; mean.

    Args:
        denoised: (B, c, h, w) float32, the student's latents.
        target: (B, c, h, w) float32, the teacher's.
        beta: Where the square ends, > 0.
    """
    return functional.smooth_l1_loss(denoised, target, beta=beta)


def perceptual_distance(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """LPIPS without learnt weights (Zhang et al., 2018, equation 1): unit channels, squared difference, mean.

    Args:
        features: Per layer, (B, C_l, H_l, W_l) float.
        targets: Per layer, the same shapes.

    Returns:
        Mean over layers and batch; in [0, 4].
    """
    layers = [
        (unit_channels(one.float()) - unit_channels(other.float())).square().sum(dim=1).mean()
        for one, other in zip(features, targets, strict=True)
    ]
    return torch.stack(layers).mean()


def unit_channels(features: Tensor) -> Tensor:
    """Give every place of features (B, C, H, W) float32 the length 1 over its channels; zeros stay zeros."""
    # The epsilon sits under the root: the gradient of a norm at zero is not a number.
    return features * (features.square().sum(dim=1, keepdim=True) + 1e-8).rsqrt()
