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
        schedule = Schedule.from_manifest(scheduler)
        self.alphas_cumprod: Tensor = torch.from_numpy(schedule.alphas_cumprod).to(device)
        self.last_timestep = schedule.timesteps(1)[0]
        self._noise_level = float((1 - schedule.alphas_cumprod[self.last_timestep]) ** 0.5)
        self._skip, self._out = schedule.coefficients(self.last_timestep)

    @property
    def num_timesteps(self) -> int:
        """N, the training timesteps."""
        return len(self.alphas_cumprod)

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
