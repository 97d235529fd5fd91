"""The family's schedule for torch: the constants are the runtime's, so that both always agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ragturbo_runtime.sampler import Schedule


class Diffusion:
    """What the student is fed at the last timestep, and how its answer becomes latents.

    Args:
        scheduler: The family's scheduler_config.json.
        device: Where the latents are.

    Raises:
        InvalidInputError: A key is missing or has a value that the runtime's sampler does not know.
    """

    def __init__(self, scheduler: Mapping[str, Any], *, device: str | torch.device = "cpu") -> None:
        schedule = self._schedule = Schedule.from_manifest(scheduler)
        self.alphas_cumprod: Tensor = torch.from_numpy(schedule.alphas_cumprod).to(device)
        self.last_timestep = schedule.timesteps(1)[0]
        self._noise_level = float((1 - schedule.alphas_cumprod[self.last_timestep]) ** 0.5)
        self._skip, self._out = schedule.coefficients(self.last_timestep)

    @property
    def num_timesteps(self) -> int:
        """N, the training timesteps."""
        return len(self.alphas_cumprod)

    @property
    def angles(self) -> Tensor:
        """(N,) float64 on the CPU, in [0, pi / 2], rising: the angle a of a timestep has cos(a) = sqrt(alpha_bar)."""
        return torch.from_numpy(self._schedule.alphas_cumprod).sqrt().arccos()

    def split(self, sample: Tensor, model_output: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        """Tell what a sample is made of, by the family's prediction type.

        Args:
            sample: (B, c, h, w) float32 at the timestep: cos(a) * latents + sin(a) * noise.
            model_output: (B, c, h, w) float32, noise or velocity.
            timestep: In [0, N).

        Returns:
            Latents and noise, each (B, c, h, w) float32.
        """
        skip, out = self._schedule.coefficients(timestep)
        clean = skip * sample + out * model_output
        if self._schedule.prediction_type == "epsilon":
            return clean, model_output
        return clean, -out * sample + skip * model_output  # out = -sin(a), skip = cos(a)

    def initial_sample(self, noise: Tensor) -> Tensor:
        """sqrt(1 - alpha_bar) * noise: what the U-Net sees in its one step.

        Args:
            noise: (B, c, h, w) float32, N(0, 1).
        """
        return self._noise_level * noise

    def denoised(self, sample: Tensor, model_output: Tensor) -> Tensor:
        """Turn the U-Net's answer into latents, by the family's prediction type.

        Args:
            sample: (B, c, h, w) float32, what the U-Net saw.
            model_output: (B, c, h, w) float32, noise or velocity.

        Returns:
            (B, c, h, w) float32.
        """
        return self._skip * sample + self._out * model_output
