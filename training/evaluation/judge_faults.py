"""What decoders and denoisers do to a whole picture, imitated on tensors: warped, softened, tinted, noisy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from training.data.render import Pixels

_WARP = 0.045  # in grid_sample's units (the picture is 2 wide): 1.4 pixels of 64
_LATENT_NOISE = 0.3  # standard deviations of the latents


def add_faults(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Warp, blur, tint and roughen, each by its own amount per picture; about one in four stays almost clean.

    Args:
        pictures: (B, 3, H, W) float32 in [-1, 1].
        generator: Where the amounts come from.

    Returns:
        The same shape and range; things stay within two pixels of where they were.
    """
    amount = torch.rand(len(pictures), 1, 1, 1, generator=generator) * 1.35 - 0.35
    amount = amount.clamp(min=0)
    faulty = _warp(pictures, amount, generator)
    faulty = _soften(faulty, amount, generator)
    faulty = _tint(faulty, amount, generator)
    return _roughen(faulty, amount, generator).clamp(-1, 1)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """What the family's own autoencoder makes of pictures whose latents are a little off.

    Args:
        vae: The family's autoencoder, float32.
        pictures: (B, 3, H, W) float32 in [-1, 1].
        generator: Where the latents' noise comes from; half of the pictures get none.

    Returns:
        (B, 3, H, W) float32 in [-1, 1].
    """
    latents = vae.encode(pictures).latent_dist.mode()
    amount = (torch.rand(len(latents), 1, 1, 1, generator=generator) * 2 - 1).clamp(min=0) * _LATENT_NOISE
    noise = torch.randn(latents.shape, generator=generator) * latents.std()
    decoded: Tensor = vae.decode(latents + amount * noise).sample
    return decoded.clamp(-1, 1)


@torch.no_grad()
def through_vae(vae: AutoencoderKL, pictures: Pixels, *, batch: int = 64) -> Pixels:
    """Encode and decode pictures, without noise on their latents: what the autoencoder alone loses.

    Args:
        vae: The family's autoencoder, float32.
        pictures: (N, H, W, 3) uint8.
        batch: Pictures at a time.

    Returns:
        (N, H, W, 3) uint8.
    """
    rebuilt = []
    for some in torch.split(torch.from_numpy(pictures), batch):
        latents = vae.encode(some.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mode()
        rebuilt.append(vae.decode(latents).sample.clamp(-1, 1))
    pixels = ((torch.cat(rebuilt) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def _warp(pictures: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Move pixels by a smooth random field (Simard et al., 2003, elastic distortions)."""
    count, _, height, width = pictures.shape
    coarse = torch.randn(count, 2, 6, 6, generator=generator) * amount * _WARP
    field = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    identity = torch.eye(2, 3).expand(count, 2, 3)
    grid = functional.affine_grid(identity, [count, 3, height, width], align_corners=False)
    return functional.grid_sample(
        pictures, grid + field.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def _soften(pictures: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Blend in a blurred copy (a box of 3), or one at half resolution."""
    share = torch.rand(amount.shape, generator=generator) * amount
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    soft = functional.avg_pool2d(padded, 3, stride=1)
    halved = functional.interpolate(functional.avg_pool2d(pictures, 2), scale_factor=2.0, mode="bilinear")
    coarse = torch.rand(amount.shape, generator=generator) < 0.4
    return torch.lerp(pictures, torch.where(coarse, halved, soft), share)


def _tint(pictures: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Scale and shift each colour channel, little enough that a colour keeps its name."""
    gain = 1 + 0.06 * amount * torch.randn(len(pictures), 3, 1, 1, generator=generator)
    shift = 0.05 * amount * torch.randn(len(pictures), 3, 1, 1, generator=generator)
    return pictures * gain + shift


def _roughen(pictures: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise at the pixels' scale and at the latents' (four pixels)."""
    count, channels, height, width = pictures.shape
    fine = torch.randn(pictures.shape, generator=generator)
    blocks = torch.randn(count, channels, height // 4, width // 4, generator=generator)
    coarse = functional.interpolate(blocks, size=(height, width), mode="bilinear")
    return pictures + amount * (0.04 * fine + 0.1 * coarse)
