"""Distils the teacher into a latent consistency model (Luo et al. 2023): any point of a trajectory leads to its end.

    f(z_t, t) = c_skip(t) * z_t + c_out(t) * x_0(z_t, t)
    loss      = d(f(z_t, t), stopgrad f(z_s, s)),  z_s = DDIM(z_t; teacher with guidance), s one rung below t

The target is the model itself without a gradient, as in improved consistency training (Song and Dhariwal 2023): an
average of it is kept for drawing alone. As there, the ladder starts with two rungs, and their number doubles: what is
true at the foot must come up to the top, and anything that is the same on all rungs, such as the noise itself, looks
consistent until it has. With all 16 rungs at once the model drew grain after 1,000 steps. Guidance is fixed, so there
is no embedding of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import LCMScheduler
from torch import Tensor

from training.baselines.config import LcmConfig
from training.family.loop import train
from training.family.text_tower import TextTower
from training.ladd.diffusion import Diffusion
from training.precision import autocast

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

FIRST_RUNGS = 2
HUBER = 0.03
"""c of the pseudo-Huber distance sqrt(x^2 + c^2) - c. With the usual 0.001 it is an absolute distance, whose gradient
is the sign of bfloat16's rounding where two rungs agree: after 1,000 steps the model drew grain."""


class ConsistencyLoss:
    """What a step is told.

    Args:
        config: Batch, guidance, ladder.
        student: The consistency model, trained.
        teacher: The frozen teacher.
        text: The frozen text tower.
        scheduler: The family's scheduler settings.
        latents: (N, c, h, w), what the data looks like.
        captions: N of them.
    """

    def __init__(
        self,
        config: LcmConfig,
        student: UNet2DConditionModel,
        teacher: UNet2DConditionModel,
        text: TextTower,
        scheduler: dict[str, Any],
        latents: Tensor,
        captions: tuple[str, ...],
    ) -> None:
        self.config, self.student, self.teacher, self.text = config, student, teacher, text
        self.latents, self.diffusion = latents, Diffusion(scheduler)
        self.input_ids, self.eos_index = text.tokenize([*captions, ""])
        self.scheduler = LCMScheduler.from_config(scheduler)

    def rungs(self, step: int) -> int:
        """The ladder's rungs at a step: 2, then twice as many after equal shares of the steps, up to `solver_steps`."""
        doublings = (self.config.solver_steps // FIRST_RUNGS).bit_length()
        stage = min(doublings - 1, step * doublings // self.config.steps)
        return FIRST_RUNGS << stage

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step, a scalar."""
        rows = torch.randint(len(self.latents), (self.config.batch,), generator=generator)
        rungs = self.rungs(step)
        ladder = torch.randint(1, rungs + 1, (len(rows),), generator=generator)
        last = self.diffusion.num_timesteps - 1
        high, low = ladder * last // rungs, (ladder - 1) * last // rungs
        noise = torch.randn(self.latents[rows].shape, generator=generator)
        with torch.no_grad():
            prompts = self.text(self.input_ids[rows], self.eos_index[rows])[0]
            nothing = self.text(self.input_ids[-1:], self.eos_index[-1:])[0].expand_as(prompts)
        sample = self._mix(self.latents[rows].float(), noise, high)
        with torch.no_grad(), autocast():
            below = self._climb_down(sample, high, low, prompts, nothing)
            target = self._end(below, low, prompts)
        with autocast():
            end = self._end(sample, high, prompts)
        return ((end - target).square() + HUBER**2).sqrt().mean() - HUBER

    def _mix(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        share = self.diffusion.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
        return share.sqrt() * clean + (1 - share).sqrt() * noise

    def _split(
        self, model: UNet2DConditionModel, sample: Tensor, timesteps: Tensor, embeds: Tensor
    ) -> Tensor:
        output: Tensor = model(sample, timesteps, encoder_hidden_states=embeds).sample
        return output.float()

    def _clean(self, sample: Tensor, output: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and noise, by the prediction type."""
        share = self.diffusion.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
        if self.scheduler.config.prediction_type == "v_prediction":
            return share.sqrt() * sample - (1 - share).sqrt() * output, share.sqrt() * output + (
                1 - share
            ).sqrt() * sample
        return (sample - (1 - share).sqrt() * output) / share.sqrt(), output

    def _climb_down(
        self, sample: Tensor, high: Tensor, low: Tensor, prompts: Tensor, nothing: Tensor
    ) -> Tensor:
        with_prompt = self._split(self.teacher, sample, high, prompts)
        without = self._split(self.teacher, sample, high, nothing)
        guided = without + self.config.guidance_scale * (with_prompt - without)
        clean, noise = self._clean(sample, guided, high)
        # As DDIM's `set_alpha_to_one`: at the foot there is no noise left to look consistent.
        return torch.where(low.view(-1, 1, 1, 1) > 0, self._mix(clean, noise, low), clean)

    def _end(self, sample: Tensor, timesteps: Tensor, prompts: Tensor) -> Tensor:
        clean, _ = self._clean(sample, self._split(self.student, sample, timesteps, prompts), timesteps)
        skip, out = self.scheduler.get_scalings_for_boundary_condition_discrete(timesteps.view(-1, 1, 1, 1))
        end: Tensor = skip * sample + out * clean
        return end


def train_lcm(
    config: LcmConfig,
    teacher: UNet2DConditionModel,
    text: TextTower,
    scheduler: dict[str, Any],
    latents: Tensor,
    captions: tuple[str, ...],
    work: Path,
    sample: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train a copy of the teacher.

    Args:
        config: How.
        teacher: The frozen teacher.
        text: The frozen text tower.
        scheduler: The family's scheduler settings.
        latents: (N, c, h, w), training scenes.
        captions: N of them.
        work: Folder for the checkpoint.
        sample: Draws a grid at a step.

    Returns:
        The moving average, in eval mode.
    """
    student = copy.deepcopy(teacher).requires_grad_(True)
    loss_of = ConsistencyLoss(config, student, teacher, text, scheduler, latents, captions)
    trained: UNet2DConditionModel = train(
        student, loss_of, name="lcm", steps=config.steps, learning_rate=config.learning_rate, decay_share=0.7,
        checkpoint=work / "lcm.pt", ema=config.ema, sample=sample, sample_every=1000,
    )  # fmt: skip
    return trained.eval().requires_grad_(False)


@torch.no_grad()
def draw_latents_with_lcm(
    lcm: UNet2DConditionModel, scheduler: dict[str, Any], noise: Tensor, prompt_embeds: Tensor, *, steps: int
) -> Tensor:
    """Draw by diffusers' `LCMScheduler`.

    Args:
        lcm: From `train_lcm`.
        scheduler: The family's scheduler settings.
        noise: (B, c, h, w) float32.
        prompt_embeds: (B, L, D) float32.
        steps: Sampler steps; 4 is usual.

    Returns:
        Latents (B, c, h, w) float32.
    """
    sampler = LCMScheduler.from_config(scheduler)
    sampler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(0)  # it adds fresh noise between its steps
    sample = noise * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        output = lcm(sample, timestep, encoder_hidden_states=prompt_embeds).sample
        sample, denoised = sampler.step(output, timestep, sample, generator=generator, return_dict=False)
    latents: Tensor = denoised
    return latents
