"""Let the frozen teacher draw: (prompt, noise) -> latents, by a deterministic few-step sampler.

DPM-Solver++ (2M), Lu et al., 2022, Algorithm 2, as diffusers implements it. It solves the probability-flow
ODE, so the same noise always ends in the same latents: only then does a pair of noise and latents mean
something to a student.

Zero terminal SNR (Lin et al., 2023): the solver works in log-SNR, which is -infinity there. diffusers sets
the last alpha_bar to 2^-24 (log-SNR -8.3) instead of 0, which changes the starting sample by 2.4e-4 of
itself, and the first step, of order one (DDIM), is exact for it; the second-order correction of the next step
shrinks with the length of the first. A test compares the result with the closed solution for a Gaussian.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.ladd.pairs import Pairs, noise_of_seeds

if TYPE_CHECKING:
    from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

    from training.family.text_tower import TextTower

_SOLVER_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
)


def solver_for(
    scheduler: Mapping[str, Any], steps: int, *, device: str | torch.device = "cpu"
) -> DPMSolverMultistepScheduler:
    """Make the teacher's solver from a family's scheduler settings.

    Args:
        scheduler: The family's scheduler_config.json; keys that only other samplers know are left out.
        steps: Sampling steps, 1 or more.
        device: Where its timesteps are put.

    Returns:
        DPM-Solver++ (2M), of order two, on that schedule and prediction type, at its first step.
    """
    from diffusers import DPMSolverMultistepScheduler

    settings = {key: scheduler[key] for key in _SOLVER_KEYS if key in scheduler}
    solver = DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2, **settings)
    with warnings.catch_warnings():
        # diffusers 0.39 makes numpy arrays of tensors in a way that numpy 2.4 warns of; the values are right.
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        solver.set_timesteps(steps, device=device)
    return solver


@torch.no_grad()
def synthesize_pairs(
    teacher: UNet2DConditionModel,
    text: TextTower,
    scheduler: Mapping[str, Any],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float,
    latent_shape: tuple[int, int, int],
    batch: int,
    bf16: bool = False,
) -> Iterator[Pairs]:
    """Draw each prompt with the teacher, from the noise of its seed.

    Args:
        teacher: The frozen teacher; its device is used.
        text: The family's text tower, on the same device.
        scheduler: The family's scheduler settings.
        prompts: What to draw.
        seeds: As many integers: the noise.
        steps: Sampling steps, 1 or more.
        guidance_scale: Classifier-free guidance (Ho and Salimans, 2022): uncond + scale * (cond - uncond). 1
            = none.
        latent_shape: (c, h, w) of the latents.
        batch: Pairs at a time; guidance doubles what the U-Net sees.
        bf16: Run the U-Net under bfloat16 autocast (2 to 4 times faster on CPUs that have it); the solver
            stays float32.

    Yields:
        Batches in the order of `prompts`; latents float32 on the CPU.

    Raises:
        ValueError: Another number of seeds than prompts, or steps or batch below 1.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; give one seed a prompt")
    if steps < 1 or batch < 1:
        raise ValueError(f"steps={steps}, batch={batch}; both must be 1 or more")
    for first in range(0, len(prompts), batch):
        some, their_seeds = list(prompts[first : first + batch]), list(seeds[first : first + batch])
        embeds = _prompt_embeds(text, some, guided=guidance_scale != 1.0)
        latents = sample_latents(
            teacher, scheduler, embeds, noise_of_seeds(their_seeds, latent_shape), steps=steps,
            guidance_scale=guidance_scale, bf16=bf16,
        )  # fmt: skip
        yield Pairs(tuple(some), torch.tensor(their_seeds, dtype=torch.int64), latents.cpu())


def _prompt_embeds(text: TextTower, prompts: list[str], *, guided: bool) -> Tensor:
    """(B, L, D), or (2B, L, D) with the empty prompt's first when guided."""
    embeds, _ = text.encode([*prompts, ""] if guided else prompts)
    if guided:
        embeds = torch.cat([embeds[-1:].expand(len(prompts), -1, -1), embeds[:-1]])
    return embeds


def sample_latents(
    teacher: UNet2DConditionModel,
    scheduler: Mapping[str, Any],
    embeds: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance_scale: float,
    bf16: bool = False,
) -> Tensor:
    """Draw latents with DPM-Solver++ (2M).

    Args:
        teacher: A many-step U-Net.
        scheduler: The family's scheduler settings.
        embeds: (B, L, D), or (2B, L, D) with the unconditional ones first when guided, on the teacher's device.
        noise: (B, c, h, w) float32, N(0, 1).
        steps: Sampling steps.
        guidance_scale: Used when guided.
        bf16: Run the U-Net under bfloat16 autocast.

    Returns:
        (B, c, h, w) float32 on the teacher's device.
    """
    solver = solver_for(scheduler, steps, device=embeds.device)
    sample: Tensor = noise.to(embeds.device) * solver.init_noise_sigma
    guided = len(embeds) != len(sample)
    for timestep in solver.timesteps:
        both = torch.cat([sample, sample]) if guided else sample
        with torch.autocast(embeds.device.type, torch.bfloat16, enabled=bf16):
            output = teacher(both, timestep, encoder_hidden_states=embeds).sample
        output = output.float()
        if guided:
            without, with_prompt = output.chunk(2)
            output = without + guidance_scale * (with_prompt - without)
        sample = solver.step(output, timestep, sample, return_dict=False)[0]
    return sample
