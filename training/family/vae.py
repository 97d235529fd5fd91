"""Trains the picture autoencoder: first on crops, then on whole pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from training.family.config import VaeConfig
from training.family.grid import save_grid
from training.family.loop import train
from training.family.scene_cache import SceneCache
from training.family.shapes import new_vae
from training.precision import autocast

CROP_TRIES = 3


def train_vae(config: VaeConfig, scenes: SceneCache, held_out: SceneCache, work: Path) -> AutoencoderKL:
    """Train an AutoencoderKL on mean absolute and squared error and a faint KL term.

    Args:
        config: Shape and training.
        scenes: Training pictures.
        held_out: Pictures for the grid, and for the latents' scale.
        work: Folder for the checkpoint and the grids.

    Returns:
        The autoencoder; ``config.scaling_factor`` is set so that the latents' standard deviation is 1.
    """
    torch.manual_seed(0)
    vae = new_vae(config, scenes.pixels.shape[-1])
    crop_steps = int(config.crop_share * config.steps)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        pixels = _batch(scenes, config.batch, step < crop_steps, generator)
        with autocast():
            posterior = vae.encode(pixels).latent_dist
            decoded = vae.decode(posterior.sample(generator)).sample
        difference = decoded.float() - pixels
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        loss: Tensor = difference.abs().mean() + 2 * difference.square().mean() + config.kl_weight * kl
        return loss

    def sample(model: nn.Module, step: int) -> None:
        pixels = torch.from_numpy(held_out.batch(np.arange(32)))
        with torch.inference_mode():
            decoded = model.decode(model.encode(pixels).latent_dist.mode()).sample  # type: ignore[operator]
        save_grid(work / f"vae_{step:06d}.png", torch.cat([pixels, decoded]), columns=16)

    train(
        vae, loss_of, name="vae", steps=config.steps, learning_rate=config.learning_rate, decay_share=0.5,
        checkpoint=work / "vae.pt", weight_decay=0.0, sample=sample,
    )  # fmt: skip
    vae.register_to_config(scaling_factor=1.0 / _latent_deviation(vae, held_out))
    return vae


@torch.inference_mode()
def reconstruction_psnr(vae: AutoencoderKL, scenes: SceneCache, count: int = 512) -> float:
    """Peak signal-to-noise ratio over held-out pictures, dB: one mean squared error over all pixels, peak 2."""
    errors = []
    for start in range(0, count, 64):
        pixels = torch.from_numpy(scenes.batch(np.arange(start, start + 64)))
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
        errors.append(float((decoded - pixels).square().mean()))
    return float(10 * np.log10(4 / np.mean(errors)))


@torch.inference_mode()
def encode_latents(vae: AutoencoderKL, scenes: SceneCache, rows: np.ndarray) -> Tensor:
    """The scaled latents of some pictures.

    Args:
        vae: The autoencoder.
        scenes: Whose pictures.
        rows: (B,) int64.

    Returns:
        (B, c, h, w) float32, standard deviation about 1: the posterior's mode times the scaling factor.
    """
    with autocast():
        mode = vae.encode(torch.from_numpy(scenes.batch(rows))).latent_dist.mode()
    scaled: Tensor = mode.float() * vae.config.scaling_factor
    return scaled


def _batch(scenes: SceneCache, batch: int, crop: bool, generator: torch.Generator) -> Tensor:
    """Whole pictures, or one crop of half the side from each of four times as many."""
    count = batch * 4 if crop else batch
    pixels = scenes.batch(torch.randint(len(scenes), (count,), generator=generator).numpy())
    if crop:
        corners = torch.randint(
            pixels.shape[-1] // 2 + 1, (count, CROP_TRIES, 2), generator=generator
        ).tolist()
        pixels = np.stack(
            [_richest_crop(picture, tries) for picture, tries in zip(pixels, corners, strict=True)]
        )
    return torch.from_numpy(pixels)


def _richest_crop(picture: NDArray[np.float32], corners: list[list[int]]) -> NDArray[np.float32]:
    """The crop with most in it: plain ground is learnt in no time."""
    half = picture.shape[-1] // 2
    crops = [picture[:, y : y + half, x : x + half] for y, x in corners]
    return max(crops, key=lambda crop: float(crop.std(axis=(1, 2)).sum()))


@torch.inference_mode()
def _latent_deviation(vae: AutoencoderKL, scenes: SceneCache) -> float:
    modes = [
        vae.encode(torch.from_numpy(scenes.batch(np.arange(s, s + 64)))).latent_dist.mode()
        for s in (0, 64, 128)
    ]
    return float(torch.cat(modes).std())
