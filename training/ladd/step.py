"""One optimisation step of LADD: student, then heads (ImageRAGTurbo, section 3.4; Sauer et al., 2024).

What is frozen is computed once: h and skips of the pair's noise, the teacher's features of the targets, and
the features of the student's latents, which the student's phase needs with a gradient and the heads' phase
reuses without one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.ladd.augment import AugmentSettings, augment, random_view
from training.ladd.config import LossesConfig
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import DiscriminatorHeads, renoise, teacher_features
from training.ladd.errors import NonFiniteLossError
from training.ladd.losses import discriminator_loss, generator_loss, perceptual_distance, smooth_l1
from training.ladd.timing import Stopwatch

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.ladd.vgg_distance import VggDistance


@dataclass(frozen=True)
class Judged:
    """The student's latents as the losses see them."""

    gradient: Tensor
    """(B, c, h, w) float32: weighted sum of the losses' gradients with respect to the denoised latents."""
    fake: list[Tensor]
    """The teacher's features of the renoised student latents, without gradient: the heads' phase reuses them."""
    timestep: Tensor
    """(B,) int64: the noise level s at which they were taken."""
    metrics: dict[str, float]


class Judge:
    """The frozen teacher and the trainable heads: all that the student's latents are judged by.

    Args:
        teacher: The frozen teacher.
        heads: The discriminator's heads.
        diffusion: The family's schedule.
        losses: Weights and settings.
        bf16: Run the teacher under bfloat16 autocast.
        vgg: What measures the perceptual distance where `losses` names VGG16.
    """

    def __init__(
        self,
        teacher: UNet2DConditionModel,
        heads: DiscriminatorHeads,
        diffusion: Diffusion,
        losses: LossesConfig,
        *,
        bf16: bool,
        vgg: VggDistance | None = None,
    ) -> None:
        if (losses.perceptual_network == "vgg") != (vgg is not None):
            raise ValueError(
                f'perceptual_network is "{losses.perceptual_network}"; a VggDistance belongs to "vgg"'
            )
        self.vgg = vgg
        self.teacher, self.heads, self.diffusion, self.losses, self.bf16 = (
            teacher,
            heads,
            diffusion,
            losses,
            bf16,
        )
        self.views = AugmentSettings()

    def judge(
        self,
        denoised: Tensor,
        target: Tensor,
        prompt_embeds: Tensor,
        *,
        step: int,
        generator: torch.Generator,
        watch: Stopwatch,
    ) -> Judged:
        """Compute every loss of the student and its gradient with respect to the denoised latents.

        The gradients are taken one by one, at no extra cost: each loss has its own graph through the teacher,
        and all of them meet in the denoised latents, from where one backward pass goes into the student.

        Args:
            denoised: (B, c, h, w) float32, the student's latents.
            target: (B, c, h, w) float32, the teacher's latents of the same noise.
            prompt_embeds: (B, L, D) float32, of the true prompts: the teacher knows no made-up word.
            step: Counts the ramp of the adversarial loss.
            generator: On the CPU; noise levels, noise and views are drawn from it.
            watch: Takes the time of the phases.

        Raises:
            NonFiniteLossError: A loss or a gradient is NaN or infinite.
        """
        latents = denoised.detach().requires_grad_()
        first, last = self._judged_rows(len(latents))
        losses, gradients = {}, {}
        view = random_view(self.views, generator, last.stop - last.start)
        if self.losses.perceptual_network != "none":
            with watch.phase("perceptual"):
                losses["perceptual"] = self._perceptual(
                    latents[last], target[last], prompt_embeds[last], view
                )
                gradients["perceptual"] = _gradient(losses["perceptual"], latents)
        with watch.phase("adversarial"):
            timestep = torch.randint(self.diffusion.num_timesteps, (first.stop,), generator=generator)
            timestep = timestep.to(latents.device)
            fake = self._features(latents[first], prompt_embeds[first], timestep, generator)
            losses["adversarial"] = generator_loss(self.heads(fake))
            gradients["adversarial"] = _gradient(losses["adversarial"], latents)
        losses["smooth_l1"] = smooth_l1(latents, target, beta=self.losses.smooth_l1_beta)
        gradients["smooth_l1"] = _gradient(losses["smooth_l1"], latents)
        weights = self.weights(step)
        metrics = {f"loss/{name}": float(loss.detach()) for name, loss in losses.items()}
        metrics |= {f"gradient/{name}": float(gradient.norm()) for name, gradient in gradients.items()}
        metrics |= {f"weight/{name}": weight for name, weight in weights.items()}
        check_finite(step, metrics)
        total = torch.stack([weights[name] * gradient for name, gradient in gradients.items()]).sum(dim=0)
        return Judged(total, [map_.detach() for map_ in fake], timestep, metrics)

    def heads_loss(
        self, judged: Judged, target: Tensor, prompt_embeds: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute the heads' hinge loss; the teacher runs without gradients.

        Real and misaligned latents are renoised to the fakes' noise levels, each with noise of its own.

        Args:
            judged: From `judge`: the fakes' features.
            target: (B, c, h, w) float32, the teacher's latents: real.
            prompt_embeds: (B, L, D) float32, of the true prompts; rolled by one they are the misaligned ones.
            generator: On the CPU; the noise is drawn from it.

        Returns:
            The loss, to be differentiated, and the metrics.
        """
        judged_rows, _ = self._judged_rows(len(target))
        target, prompt_embeds = target[judged_rows], prompt_embeds[judged_rows]
        others = prompt_embeds.roll(1, dims=0)
        with torch.no_grad():
            real = self._features(target, prompt_embeds, judged.timestep, generator)
            wrong = (
                self._features(target, others, judged.timestep, generator) if self.losses.misaligned else None
            )
        logits = {"real": self.heads(real), "fake": self.heads(judged.fake)}
        logits["misaligned"] = self.heads(wrong) if wrong is not None else []
        loss = discriminator_loss(logits["real"], logits["fake"], logits["misaligned"])
        metrics = {f"logit/{kind}": _mean(maps) for kind, maps in logits.items() if maps}
        metrics["loss/heads"] = float(loss.detach())
        return loss, metrics

    def weights(self, step: int) -> dict[str, float]:
        """The weights of the losses at a step: the adversarial one rises from 0 over the first steps."""
        ramp = self.losses.adversarial_ramp
        adversarial = self.losses.adversarial * (min(1.0, step / ramp) if ramp else 1.0)
        weights = {
            "smooth_l1": self.losses.smooth_l1,
            "perceptual": self.losses.perceptual,
            "adversarial": adversarial,
        }
        if self.losses.perceptual_network == "none":
            del weights["perceptual"]
        return weights

    def _judged_rows(self, batch: int) -> tuple[slice, slice]:
        """The first rows, for the discriminator, and the last ones, for the perceptual distance; two at least."""
        count = min(batch, max(2, round(self.losses.judged_share * batch)))
        return slice(0, count), slice(batch - count, batch)

    def _features(
        self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor, generator: torch.Generator
    ) -> list[Tensor]:
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        noisy = renoise(latents, noise, self.diffusion.alphas_cumprod, timestep)
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
            return teacher_features(self.teacher, noisy, timestep, prompt_embeds)

    def _perceptual(
        self, latents: Tensor, target: Tensor, prompt_embeds: Tensor, view: tuple[Tensor, Tensor]
    ) -> Tensor:
        if self.vgg is not None:
            with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
                distance: Tensor = self.vgg(latents, target)
            return distance.float()
        timestep = torch.full((len(latents),), self.losses.perceptual_timestep, device=latents.device)

        def look(at: Tensor) -> list[Tensor]:
            seen = augment(at, *view, cutout=self.views.cutout)
            with torch.autocast(at.device.type, torch.bfloat16, enabled=self.bf16):
                return teacher_features(self.teacher, seen, timestep, prompt_embeds)

        with torch.no_grad():
            wanted = look(target)
        return perceptual_distance(look(latents), wanted)


def check_finite(step: int, metrics: dict[str, float]) -> None:
    """Refuse numbers that are none.

    Raises:
        NonFiniteLossError: A metric is NaN or infinite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NonFiniteLossError(step, name)


def _gradient(loss: Tensor, latents: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, latents)
    return gradient


def _mean(maps: list[Tensor]) -> float:
    return float(torch.stack([logits.detach().float().mean() for logits in maps]).mean())
