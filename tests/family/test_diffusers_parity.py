"""Our sampler and split draw what diffusers' own pipeline draws: one step, and two to four."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

from export.parity import max_abs_diff, psnr_db
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.sampler import Schedule
from training.family.folder import Family, load_family
from training.family.random_family import random_family
from training.models.split_unet import decode, encode

# diffusers 0.39's scheduler hands numpy 2 a tensor whose __array__ knows no `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

PROMPTS = ["a lighthouse in the snow", "two cats"]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_family(random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small"))


def diffusers_draws(family: Family, noise: np.ndarray, steps: int) -> np.ndarray:
    """(B, 3, H, W) in [0, 1]."""
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
    embeds, _ = family.text.encode(PROMPTS)
    return (
        pipeline(
            prompt_embeds=embeds,
            latents=torch.from_numpy(noise),
            num_inference_steps=steps,
            guidance_scale=0.0,
            output_type="pt",
        )
        .images.float()
        .numpy()
    )


@torch.inference_mode()
def we_draw(family: Family, noise: np.ndarray, steps: int) -> np.ndarray:
    """The same with the runtime's schedule and the split U-Net."""
    schedule = Schedule.from_manifest(family.scheduler)
    embeds, _ = family.text.encode(PROMPTS)
    timesteps = schedule.timesteps(steps)
    sample = schedule.initial_sample(noise, timesteps[0])
    for timestep, following in zip(timesteps, (*timesteps[1:], None), strict=True):
        h, skips = encode(family.unet, torch.from_numpy(sample), timestep, embeds)
        output = decode(family.unet, h, skips, timestep, embeds)
        sample = schedule.step(sample, output.numpy(), timestep, following)
    pictures = family.vae.decode(torch.from_numpy(sample) / family.vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1).numpy()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_pictures_equal_those_of_stable_diffusion_pipeline(family: Family, steps: int) -> None:
    noise = batch_noise((7, 8), (4, 16, 16))
    ours, theirs = we_draw(family, noise, steps), diffusers_draws(family, noise, steps)
    assert float(np.ptp(theirs)) > 0.1, "a flat picture would prove nothing"
    assert max_abs_diff(ours, theirs) < 2e-4
    assert psnr_db(ours, theirs) > 80.0  # 60 dB is what the exporter promises
