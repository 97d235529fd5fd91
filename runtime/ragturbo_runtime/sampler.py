"""Noise schedule and the few-step sampler, in numpy.

A latent at timestep t is ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps`` (DDPM, Ho et al. 2020, eq. 4). One
step predicts ``x_0`` and moves along the deterministic path to the next timestep (DDIM, Song et al. 2021, eq.
12 with sigma = 0), which is the Euler step of Karras et al. (2022) in ``x / sqrt(abar)``. Constants are
float64, arrays float32.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Latents
from ragturbo_runtime.errors import InvalidInputError

MAX_INFERENCE_STEPS = 4
"""SD-Turbo and its kin are distilled for one to four steps."""

MAX_TRAIN_TIMESTEPS = 100_000
"""A hundred times what any model has: a damaged number must not fill the memory."""

PredictionType = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class Schedule:
    """The noise levels of a model and what its network predicts.

    Attributes:
        alphas_cumprod: (N,) float64, abar_t for every train timestep, decreasing; the last one is exactly 0
            with zero terminal SNR.
        prediction_type: ``"epsilon"`` or ``"v_prediction"``.
    """

    alphas_cumprod: NDArray[np.float64]
    prediction_type: PredictionType

    @classmethod
    def from_manifest(cls, scheduler: Mapping[str, Any]) -> Schedule:
        """Build the schedule from a scheduler_config.json, or from a manifest's ``scheduler``.

        Args:
            scheduler: ``num_train_timesteps``, ``beta_start``, ``beta_end``, ``beta_schedule`` (scaled_linear
                or linear), ``prediction_type`` (epsilon or v_prediction), ``rescale_betas_zero_snr`` (false
                if absent) and ``timestep_spacing`` (trailing). Other keys are ignored.

        Returns:
            The schedule.

        Raises:
            InvalidInputError: A key is missing or has a value that this sampler does not know.
        """
        betas = _betas(scheduler)
        prediction = _choice(scheduler, "prediction_type", ("epsilon", "v_prediction"))
        _choice(scheduler, "timestep_spacing", ("trailing",))
        alphas_cumprod: NDArray[np.float64] = np.cumprod(1.0 - betas, dtype=np.float64)
        if scheduler.get("rescale_betas_zero_snr", False):
            if prediction == "epsilon":
                raise _fault("prediction_type", prediction, "v_prediction with rescale_betas_zero_snr")
            alphas_cumprod = _rescale_zero_terminal_snr(alphas_cumprod)
        return cls(alphas_cumprod, "epsilon" if prediction == "epsilon" else "v_prediction")

    def timesteps(self, num_inference_steps: int) -> tuple[int, ...]:
        """Return the train timesteps to visit, "trailing": 1 -> (999,), 4 -> (999, 749, 499, 249).

        Args:
            num_inference_steps: 1 to 4.

        Returns:
            That many timesteps, decreasing.

        Raises:
            InvalidInputError: The number is out of range.
        """
        if not isinstance(num_inference_steps, int) or isinstance(num_inference_steps, bool):
            raise _fault(
                "num_inference_steps", num_inference_steps, f"an integer from 1 to {MAX_INFERENCE_STEPS}"
            )
        if not 1 <= num_inference_steps <= MAX_INFERENCE_STEPS:
            raise _fault("num_inference_steps", num_inference_steps, f"1 to {MAX_INFERENCE_STEPS}")
        count = len(self.alphas_cumprod)
        spaced = np.arange(count, 0, -count / num_inference_steps)[:num_inference_steps]
        return tuple(int(t) - 1 for t in np.round(spaced))

    def initial_sample(self, noise: Latents, timestep: int) -> Latents:
        """Scale pure noise to the level of the first timestep: ``sqrt(1 - abar_t) * noise``.

        Args:
            noise: (B, c, h, w) float32, standard normal.
            timestep: The first train timestep.

        Returns:
            (B, c, h, w) float32, the U-Net's first input.
        """
        return np.float32(np.sqrt(1.0 - self.alphas_cumprod[timestep])) * noise

    def coefficients(self, timestep: int) -> tuple[float, float]:
        """Return ``(c_skip, c_out)`` such that ``denoised = c_skip * sample + c_out * model_output``.

        epsilon: x_0 = (x - sqrt(1 - abar) eps) / sqrt(abar).
        v_prediction (Salimans & Ho 2022, appendix D): x_0 = sqrt(abar) x - sqrt(1 - abar) v.

        Args:
            timestep: A train timestep.

        Returns:
            Two float64.
        """
        signal, noise = self._signal_and_noise(timestep)
        if self.prediction_type == "epsilon":
            return 1.0 / signal, -noise / signal
        return signal, -noise

    def denoised(self, sample: Latents, model_output: Latents, timestep: int) -> Latents:
        """Predict the clean latents.

        Args:
            sample: (B, c, h, w) float32, what the U-Net saw.
            model_output: (B, c, h, w) float32, what it returned.
            timestep: The train timestep of both.

        Returns:
            (B, c, h, w) float32, predicted x_0.
        """
        c_skip, c_out = self.coefficients(timestep)
        return np.float32(c_skip) * sample + np.float32(c_out) * model_output

    def step(
        self, sample: Latents, model_output: Latents, timestep: int, next_timestep: int | None
    ) -> Latents:
        """Go from one timestep to the next, deterministically.

        Args:
            sample: (B, c, h, w) float32 at ``timestep``.
            model_output: (B, c, h, w) float32, the U-Net's answer to it.
            timestep: A train timestep.
            next_timestep: A smaller one, or None for the end: the clean latents.

        Returns:
            (B, c, h, w) float32, the sample at ``next_timestep``.
        """
        denoised = self.denoised(sample, model_output, timestep)
        if next_timestep is None:
            return denoised
        signal, noise = self._signal_and_noise(timestep)
        next_signal, next_noise = self._signal_and_noise(next_timestep)
        # eps = (x - signal x_0) / noise, so x' = next_signal x_0 + next_noise eps
        ratio = next_noise / noise
        return np.float32(next_signal - ratio * signal) * denoised + np.float32(ratio) * sample

    def _signal_and_noise(self, timestep: int) -> tuple[float, float]:
        alpha = float(self.alphas_cumprod[timestep])
        return alpha**0.5, (1.0 - alpha) ** 0.5


def _rescale_zero_terminal_snr(alphas_cumprod: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift and scale sqrt(abar): the last one becomes 0, the first keeps its value (Lin et al. 2024, alg. 1)."""
    root = np.sqrt(alphas_cumprod)
    result: NDArray[np.float64] = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return result


def _betas(scheduler: Mapping[str, Any]) -> NDArray[np.float64]:
    """The variance that each train timestep adds."""
    count = _number(scheduler, "num_train_timesteps")
    if not count.is_integer() or not 2 <= count <= MAX_TRAIN_TIMESTEPS:
        seen = scheduler["num_train_timesteps"]
        raise _fault("num_train_timesteps", seen, f"an integer from 2 to {MAX_TRAIN_TIMESTEPS}")
    start, end = _number(scheduler, "beta_start"), _number(scheduler, "beta_end")
    if not 0 < start <= end < 1:
        raise _fault("beta_start, beta_end", (start, end), "0 < beta_start <= beta_end < 1")
    if _choice(scheduler, "beta_schedule", ("scaled_linear", "linear")) == "linear":
        return np.linspace(start, end, int(count), dtype=np.float64)
    betas: NDArray[np.float64] = np.linspace(start**0.5, end**0.5, int(count), dtype=np.float64) ** 2
    return betas


def _number(scheduler: Mapping[str, Any], key: str) -> float:
    value = scheduler.get(key)
    # The comparison is exact for integers that no float can hold, and false for NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise _fault(key, value, "a finite number")
    return float(value)


def _choice(scheduler: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = scheduler.get(key)
    if value not in allowed:
        raise _fault(key, value, " or ".join(repr(item) for item in allowed))
    return str(value)


def _fault(argument: str, value: object, allowed: str) -> InvalidInputError:
    return InvalidInputError(f"{argument} is {value!r}, expected {allowed}", argument=argument)
