"""The discriminator: the frozen teacher's encoder, and small trainable heads on its features.

The text enters through the teacher's own cross-attention, the noise level through its time embedding, so the
heads need neither. Real and fake latents are compared at one noise level s, each with its own noise
(Diffusion-GAN, Wang et al., 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.models.split_unet import encode

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def teacher_features(
    teacher: UNet2DConditionModel, latents: Tensor, timestep: Tensor, prompt_embeds: Tensor
) -> list[Tensor]:
    """The teacher's view of noisy latents: the last residual block of every resolution, then the mid-block.

    Args:
        teacher: The frozen teacher.
        latents: (B, c, h, w) float.
        timestep: (B,) int64, the noise level of the latents.
        prompt_embeds: (B, L, D) float.

    Returns:
        One (B, C_l, H_l, W_l) per resolution, from fine to coarse, then h.
    """
    h, skips = encode(teacher, latents, timestep, prompt_embeds)
    return [*(skips[place] for place in tapped_skips(teacher)), h]


def tapped_skips(unet: UNet2DConditionModel) -> list[int]:
    """Which of `encode`'s skips are the last residual block of a resolution (skip 0 is the input convolution)."""
    places, place = [], 0
    for block in unet.down_blocks:
        place += len(block.resnets)
        places.append(place)
        place += 1 if block.downsamplers else 0
    return places


def tapped_channels(unet: UNet2DConditionModel) -> list[int]:
    """The widths of what `teacher_features` returns."""
    widths = [int(width) for width in unet.config.block_out_channels]
    return [*widths, widths[-1]]


class Head(nn.Module):
    """Real or fake, for each place of one feature map.

    Spectral normalisation bounds how fast the logits change with the features (Miyato et al., 2018), so the
    features are brought to unit scale first: the teacher's own scale varies tenfold with the noise level.
    Gradient penalties, which would need a second backward pass, are not needed.

    Args:
        channels: C of the features.
        width: Channels inside.
        stride: Of the first convolution: 2 halves the map.
    """

    def __init__(self, channels: int, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.enter = spectral_norm(nn.Conv2d(channels, width, 3, stride=stride, padding=1))
        self.mix = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.judge = spectral_norm(nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Judge a feature map.

        Args:
            features: (B, C, H, W) float.

        Returns:
            (B, 1, H', W') float32 logits, above 0 for real.
        """
        unit = functional.group_norm(features.float(), 1)
        hidden = functional.leaky_relu(self.enter(unit), 0.2)
        hidden = hidden + functional.leaky_relu(self.mix(hidden), 0.2)
        logits: Tensor = self.judge(hidden)
        return logits


class DiscriminatorHeads(nn.Module):
    """One head per tapped feature map.

    Args:
        channels: Widths of the maps, from fine to coarse; `tapped_channels` gives them.
        width: Channels inside each head.
    """

    def __init__(self, channels: list[int], *, width: int) -> None:
        super().__init__()
        # The finest map is the largest by far: halve it at once.
        strides = [2, *(1 for _ in channels[1:])]
        self.heads = nn.ModuleList(
            Head(count, width=width, stride=stride) for count, stride in zip(channels, strides, strict=True)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Judge what `teacher_features` returned.

        Args:
            features: One map per head.

        Returns:
            Per head, (B, 1, H', W') float32 logits.
        """
        return [head(map_.float()) for head, map_ in zip(self.heads, features, strict=True)]


def renoise(latents: Tensor, noise: Tensor, alphas_cumprod: Tensor, timestep: Tensor) -> Tensor:
    """sqrt(alpha_bar) * latents + sqrt(1 - alpha_bar) * noise (Ho et al., 2020, equation 4), float32.

    Args:
        latents: (B, c, h, w) float32.
        noise: (B, c, h, w) float32, N(0, 1).
        alphas_cumprod: (N,) float64.
        timestep: (B,) int64 in [0, N).
    """
    alpha_bar = alphas_cumprod[timestep].reshape(-1, 1, 1, 1)
    return alpha_bar.sqrt().to(torch.float32) * latents + (1 - alpha_bar).sqrt().to(torch.float32) * noise
