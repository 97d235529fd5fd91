"""Draws prompts in torch: with the many-step teacher, or in one step with or without an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from training.data.render import Pixels
from training.family.folder import Family, freeze
from training.family.grid import to_uint8
from training.ladd.diffusion import Diffusion
from training.ladd.pairs import noise_of_seeds
from training.models.adapter import HSpaceAdapter, fuse
from training.models.checkpoint import AdapterCheckpoint
from training.models.lora import add_lora, fuse_and_strip, load_lora
from training.models.split_unet import decode, encode, latent_shape

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

_DDIM_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
)


@torch.no_grad()
def draw_with_teacher(
    family: Family,
    teacher: UNet2DConditionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float,
) -> Pixels:
    """Draw by DDIM (Song et al., 2021, equation 12 with eta 0) and classifier-free guidance.

    Args:
        family: Text tower, autoencoder and schedule.
        teacher: Its many-step U-Net.
        prompts: B prompts.
        seeds: B seeds: the noise.
        steps: Sampler steps, >= 1.
        guidance_scale: uncond + scale * (cond - uncond) (Ho and Salimans, 2022); 1 is none.

    Returns:
        (B, H, W, 3) uint8.
    """
    conditional, _ = family.text.encode(list(prompts))
    unconditional = family.text.encode([""])[0].expand(len(prompts), -1, -1)
    embeds = torch.cat([unconditional, conditional])
    return _draw_guided(family, teacher, embeds, seeds, steps=steps, guidance_scale=guidance_scale)


@torch.no_grad()
def draw_with_rdm(
    family: Family,
    rdm: UNet2DConditionModel,
    conditioning: Tensor,
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float,
) -> Pixels:
    """Draw from retrieved CLIP embeddings as `draw_with_teacher` does from words.

    Args:
        family: Autoencoder and schedule.
        rdm: From `training.baselines.rdm`.
        conditioning: (B, 1 + K, E) float32, from its `EmbeddedLibrary`.
        seeds: B seeds: the noise.
        steps: Sampler steps, >= 1.
        guidance_scale: As there; zeros are the unconditional side.

    Returns:
        (B, H, W, 3) uint8.
    """
    embeds = torch.cat([torch.zeros_like(conditioning), conditioning])
    return _draw_guided(family, rdm, embeds, seeds, steps=steps, guidance_scale=guidance_scale)


@torch.no_grad()
def draw_with_lcm(
    family: Family, lcm: UNet2DConditionModel, prompts: Sequence[str], seeds: Sequence[int], *, steps: int
) -> Pixels:
    """Draw in a few steps of a latent consistency model, without guidance.

    Args:
        family: Text tower, autoencoder and schedule.
        lcm: From `training.baselines.lcm`.
        prompts: B prompts.
        seeds: B seeds: the first noise.
        steps: Sampler steps, >= 1.

    Returns:
        (B, H, W, 3) uint8.
    """
    from training.baselines.lcm import draw_latents_with_lcm

    embeds, _ = family.text.encode(list(prompts))
    noise = noise_of_seeds(seeds, latent_shape(lcm))
    return decode_latents(family, draw_latents_with_lcm(lcm, family.scheduler, noise, embeds, steps=steps))


def _draw_guided(
    family: Family,
    unet: UNet2DConditionModel,
    embeds: Tensor,
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float,
) -> Pixels:
    scheduler = _ddim(family, steps)
    sample = noise_of_seeds(seeds, latent_shape(unet)) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = unet(torch.cat([sample, sample]), timestep, encoder_hidden_states=embeds).sample
        without, with_prompt = output.chunk(2)
        guided = without + guidance_scale * (with_prompt - without)
        sample = scheduler.step(guided, timestep, sample, return_dict=False)[0]
    return decode_latents(family, sample)


@torch.no_grad()
def draw_in_one_step(
    family: Family,
    unet: UNet2DConditionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    adapter: HSpaceAdapter | None = None,
    reference_h: Tensor | None = None,
    reference_weight: Tensor | None = None,
) -> Pixels:
    """Draw in one step, with references where an adapter is given.

    Args:
        family: Text tower, autoencoder and schedule.
        unet: The family's own, or one that went through `with_lora`.
        prompts: B prompts.
        seeds: B seeds: the noise.
        adapter: Reads the references; None draws without.
        reference_h: (B, K, T, C) float32; needed with an adapter.
        reference_weight: (B, K) float32 lambdas; needed with an adapter.

    Returns:
        (B, H, W, 3) uint8.
    """
    diffusion = Diffusion(family.scheduler)
    sample = diffusion.initial_sample(noise_of_seeds(seeds, latent_shape(unet)))
    timesteps = torch.full((len(seeds),), diffusion.last_timestep)
    embeds, _ = family.text.encode(list(prompts))
    h, skips = encode(unet, sample, timesteps, embeds)
    if adapter is not None and reference_h is not None and reference_weight is not None:
        h = fuse(h, adapter(h, reference_h, reference_weight), reference_weight)
    output = decode(unet, h, skips, timesteps, embeds)
    return decode_latents(family, diffusion.denoised(sample, output))


def with_lora(family: Family, checkpoint: AdapterCheckpoint) -> UNet2DConditionModel:
    """The family's one-step U-Net with a checkpoint's LoRA fused into it; the family's own is left as it is.

    Raises:
        CheckpointError: The checkpoint was trained on another base.
    """
    from training.family.folder import family_hashes

    checkpoint.check_base(family_hashes(family.path))
    unet: UNet2DConditionModel = freeze(UNet2DConditionModel, family.path / "unet")
    if checkpoint.lora_state:
        add_lora(unet, rank=checkpoint.metadata.rank, alpha=checkpoint.metadata.alpha)
        load_lora(unet, checkpoint.lora_state)
        fuse_and_strip(unet)
    return unet.eval().requires_grad_(False)


def decode_latents(family: Family, latents: Tensor) -> Pixels:
    """Latents (B, c, h, w) float32, scaled, to pictures (B, H, W, 3) uint8."""
    pixels: Pixels = to_uint8(family.vae.decode(latents / family.vae.config.scaling_factor).sample)
    return pixels


def _ddim(family: Family, steps: int) -> DDIMScheduler:
    from diffusers import DDIMScheduler

    settings = {key: family.scheduler[key] for key in _DDIM_KEYS if key in family.scheduler}
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **settings)
    with warnings.catch_warnings():
        # diffusers 0.39 makes numpy arrays of tensors in a way that numpy 2.4 warns of; the values are right.
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        scheduler.set_timesteps(steps)
    return scheduler
