"""Draws with a family in torch: what a training stage shows and is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from training.data.splits import scenes
from training.data.world import World
from training.family.grid import to_uint8
from training.family.shapes import SCHEDULER
from training.family.text_tower import TextTower
from training.ladd.diffusion import Diffusion
from training.ladd.pairs import noise_of_seeds
from training.ladd.synthesize import synthesize_pairs
from training.models.split_unet import latent_shape

BATCH = 48
JUDGED_SCENES = 384


@torch.inference_mode()
def draw_prompts(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: TextTower,
    prompts: Sequence[str],
    *,
    steps: int,
    guidance_scale: float,
    first_seed: int = 0,
) -> Tensor:
    """Draw prompts from the noise of consecutive seeds.

    Args:
        unet: Teacher (several steps) or student (one).
        vae: The autoencoder.
        text: The text tower.
        prompts: N prompts.
        steps: Sampling steps; 1 is the student's single step.
        guidance_scale: Classifier-free guidance; 1 is none.
        first_seed: Prompt i is drawn from the noise of seed ``first_seed + i``.

    Returns:
        (N, 3, H, W) float32, about [-1, 1].
    """
    shape = latent_shape(unet)
    seeds = range(first_seed, first_seed + len(prompts))
    if steps == 1:
        latents = torch.cat([_one_step(unet, text, prompts[s : s + BATCH], seeds[s : s + BATCH], shape)
                             for s in range(0, len(prompts), BATCH)])  # fmt: skip
    else:
        drawn = synthesize_pairs(
            unet, text, SCHEDULER, prompts, seeds, steps=steps, guidance_scale=guidance_scale, latent_shape=shape,
            batch=BATCH,
        )  # fmt: skip
        latents = torch.cat([pairs.latents for pairs in drawn])
    scaled = latents / vae.config.scaling_factor
    return torch.cat([vae.decode(part).sample for part in scaled.split(BATCH)])


def _one_step(
    unet: UNet2DConditionModel,
    text: TextTower,
    prompts: Sequence[str],
    seeds: range,
    shape: tuple[int, int, int],
) -> Tensor:
    diffusion = Diffusion(SCHEDULER)
    noisy = diffusion.initial_sample(noise_of_seeds(seeds, shape))
    conditioning, _ = text.encode(list(prompts))
    output = unet(noisy, diffusion.last_timestep, encoder_hidden_states=conditioning).sample
    return diffusion.denoised(noisy, output)


def recall_of(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: TextTower,
    world: World,
    judge_file: Path,
    *,
    steps: int,
    guidance_scale: float,
) -> dict[str, float]:
    """Let the judge look for what the prompts name, in pictures of held-out prompts.

    Returns:
        Share of the named things that it finds, in [0, 1], by how often training showed them.
    """
    from training.evaluation.judge import Judge, object_recall

    asked = scenes(world, "validation", JUDGED_SCENES)
    prompts = [scene.caption for scene in asked]
    pixels = draw_prompts(unet, vae, text, prompts, steps=steps, guidance_scale=guidance_scale)
    return object_recall(Judge.load(judge_file), to_uint8(pixels), asked)
