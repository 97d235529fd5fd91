"""A family drawn by diffusers' own pipeline, and by our sampler and split U-Net.

Run as a program, it compares the two for a family of any size and prints what it found as JSON:
``python -m tests.family.two_ways FAMILY STEPS [STEPS ...]``. The pictures of the first number of steps are
compared, and the latents of the others: the same autoencoder on both sides has then been compared already.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

from export.parity import max_abs_diff, psnr_db
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.sampler import Schedule
from training.family.folder import Family, load_family
from training.models.split_unet import decode, encode

PROMPTS = ["a lighthouse in the snow", "two cats"]


def diffusers_draws(family: Family, noise: np.ndarray, steps: int, *, decoded: bool = True) -> np.ndarray:
    """(B, 3, H, W) in [0, 1], or the latents."""
    pipeline = StableDiffusionPipeline(
        vae=family.vae,
        text_encoder=None,
        tokenizer=None,
        unet=family.unet,
        scheduler=EulerDiscreteScheduler.from_pretrained(family.path / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    embeds, _ = family.text.encode(PROMPTS[: len(noise)])
    return (
        pipeline(
            prompt_embeds=embeds,
            latents=torch.from_numpy(noise),
            num_inference_steps=steps,
            guidance_scale=0.0,
            output_type="pt" if decoded else "latent",
        )
        .images.float()
        .numpy()
    )


@torch.inference_mode()
def we_draw(family: Family, noise: np.ndarray, steps: int, *, decoded: bool = True) -> np.ndarray:
    """The same with the runtime's schedule and the split U-Net."""
    schedule = Schedule.from_manifest(family.scheduler)
    embeds, _ = family.text.encode(PROMPTS[: len(noise)])
    timesteps = schedule.timesteps(steps)
    sample = schedule.initial_sample(noise, timesteps[0])
    for timestep, following in zip(timesteps, (*timesteps[1:], None), strict=True):
        h, skips = encode(family.unet, torch.from_numpy(sample), timestep, embeds)
        output = decode(family.unet, h, skips, timestep, embeds)
        sample = schedule.step(sample, output.numpy(), timestep, following)
    if not decoded:
        return sample
    pictures = family.vae.decode(torch.from_numpy(sample) / family.vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1).numpy()


def compare(family: Family, steps: int, pictures: int, *, decoded: bool = True) -> dict[str, float]:
    """PSNR and largest difference of pictures in [0, 1], and the range of theirs: a flat one would prove nothing."""
    config = family.unet.config
    noise = batch_noise(range(7, 7 + pictures), (config.in_channels, config.sample_size, config.sample_size))
    ours = we_draw(family, noise, steps, decoded=decoded)
    theirs = diffusers_draws(family, noise, steps, decoded=decoded)
    return {
        "psnr_db": psnr_db(ours, theirs),
        "max_abs_diff": max_abs_diff(ours, theirs),
        "range": float(np.ptp(theirs)),
    }


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    loaded = load_family(Path(sys.argv[1]), image_tower=False)
    found = {
        steps: compare(loaded, int(steps), 1, decoded=place == 0) for place, steps in enumerate(sys.argv[2:])
    }
    json.dump(found, sys.stdout)
