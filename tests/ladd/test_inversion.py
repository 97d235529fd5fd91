"""The teacher's flow, backwards: against the closed solution for a Gaussian."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ragturbo_runtime.sampler import Schedule
from tests.ladd.test_synthesize import SD_TURBO, ZERO_SNR
from training.ladd.diffusion import Diffusion
from training.ladd.inversion import invert

DEVIATION = torch.tensor([0.3, 0.5, 0.9, 1.4]).reshape(1, 4, 1, 1)  # of the data, per channel


class GaussianTeacher:
    """The exact denoiser of N(0, DEVIATION^2), in the form of a diffusers U-Net."""

    device = torch.device("cpu")

    def __init__(self, scheduler: dict) -> None:
        self.schedule = Schedule.from_manifest(scheduler)
        self.calls = 0

    def __call__(self, sample: Tensor, timestep: int, *, encoder_hidden_states: Tensor) -> SimpleNamespace:
        self.calls += 1
        alpha_bar = float(self.schedule.alphas_cumprod[timestep])
        signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        variance = signal**2 * DEVIATION**2 + noise**2
        denoised, epsilon = signal * DEVIATION**2 / variance * sample, noise / variance * sample
        is_epsilon = self.schedule.prediction_type == "epsilon"
        return SimpleNamespace(sample=epsilon if is_epsilon else signal * epsilon - noise * denoised)


@pytest.mark.parametrize("scheduler", [ZERO_SNR, SD_TURBO], ids=["zero terminal SNR", "SD-Turbo"])
def test_it_converges_to_the_closed_solution(scheduler: dict) -> None:
    """The flow of a Gaussian only rescales; so every channel comes back as noise of one deviation."""
    wanted = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    last = float(Schedule.from_manifest(scheduler).alphas_cumprod[-1])
    wanted = wanted * (last * DEVIATION**2 + 1 - last) ** 0.5
    unit = wanted / wanted.flatten(1).std(dim=1).reshape(-1, 1, 1, 1)
    latents = wanted / (last * DEVIATION**2 + 1 - last) ** 0.5 * DEVIATION
    errors = []
    for steps in (2, 5, 20):
        teacher = GaussianTeacher(scheduler)
        found = invert(teacher, Diffusion(scheduler), latents, torch.zeros(3, 1, 1), steps=steps)
        assert teacher.calls == 2 * steps
        torch.testing.assert_close(found.flatten(1).std(dim=1), torch.ones(3))
        errors.append(float((found - unit).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.1
    assert errors[2] < 0.01


@pytest.mark.parametrize("scheduler", [ZERO_SNR, SD_TURBO], ids=["velocity", "noise"])
def test_a_sample_is_split_into_what_it_was_mixed_of(scheduler: dict) -> None:
    diffusion = Diffusion(scheduler)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for timestep in (0, 500, 990):
        angle = float(diffusion.angles[timestep])
        signal, level = torch.tensor(angle).cos(), torch.tensor(angle).sin()
        sample = signal * clean + level * noise
        output = noise if scheduler is SD_TURBO else signal * noise - level * clean
        for found, wanted in zip(diffusion.split(sample, output, timestep), (clean, noise), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps=0; it must be 1 or more"):
        invert(
            GaussianTeacher(ZERO_SNR),
            Diffusion(ZERO_SNR),
            torch.zeros(1, 4, 8, 8),
            torch.zeros(1, 1, 1),
            steps=0,
        )
