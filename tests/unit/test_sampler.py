"""The sampler against its closed form and against diffusers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragturbo_runtime.errors import InvalidInputError
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.sampler import Schedule

TURBO: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "timestep_spacing": "trailing",
}
EMOJI = {**TURBO, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
SHAPE = (2, 4, 8, 8)


def network(sample: NDArray[np.float32], timestep: int) -> NDArray[np.float32]:
    """Stands for a U-Net: smooth, and different at every timestep."""
    output: NDArray[np.float32] = np.tanh(sample * np.float32(0.8) + np.float32(timestep / 3000))
    return output


def draw(schedule: Schedule, noise: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    timesteps = schedule.timesteps(steps)
    sample = schedule.initial_sample(noise, timesteps[0])
    for t, next_t in zip(timesteps, (*timesteps[1:], None), strict=True):
        sample = schedule.step(sample, network(sample, t), t, next_t)
    return sample


def test_constants_of_sd_turbo() -> None:
    schedule = Schedule.from_manifest(TURBO)
    noise = np.ones(SHAPE, dtype=np.float32)
    assert schedule.initial_sample(noise, 999)[0, 0, 0, 0] == pytest.approx(0.9976672, abs=1e-6)
    # One step of epsilon: latents = sigma * (noise - eps), in x / sqrt(abar)
    eps = np.full(SHAPE, 0.25, dtype=np.float32)
    denoised = schedule.denoised(schedule.initial_sample(noise, 999), eps, 999)
    assert denoised[0, 0, 0, 0] == pytest.approx(14.6146 * 0.75, abs=1e-3)
    assert denoised.dtype == np.float32


def test_one_step_of_zero_snr_v_prediction_is_minus_v() -> None:
    schedule = Schedule.from_manifest(EMOJI)
    noise = batch_noise([0, 1], SHAPE[1:])
    v = network(noise, 999)
    assert schedule.alphas_cumprod[-1] == 0.0
    assert np.array_equal(schedule.initial_sample(noise, 999), noise)
    assert np.array_equal(schedule.denoised(noise, v, 999), -v)


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, (999,)), (2, (999, 499)), (3, (999, 666, 332)), (4, (999, 749, 499, 249))]
)
def test_timesteps_are_trailing(steps: int, expected: tuple[int, ...]) -> None:
    assert Schedule.from_manifest(TURBO).timesteps(steps) == expected


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, with numpy 2
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_epsilon_equals_diffusers_euler(steps: int) -> None:
    config = {key: value for key, value in TURBO.items() if key != "rescale_betas_zero_snr"}
    scheduler = EulerDiscreteScheduler(**config)
    scheduler.set_timesteps(steps)
    schedule = Schedule.from_manifest(TURBO)
    assert tuple(int(t) for t in scheduler.timesteps) == schedule.timesteps(steps)
    noise = batch_noise([3, 4], SHAPE[1:])
    sample = torch.from_numpy(noise) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(sample, t)
        sample = scheduler.step(torch.from_numpy(network(seen.numpy(), int(t))), t, sample).prev_sample
    np.testing.assert_allclose(draw(schedule, noise, steps), sample.numpy(), rtol=1e-4, atol=2e-4)


# Not 3: diffusers' DDIM then steps from 666 to 333, which it does not visit.
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("config", [TURBO, EMOJI], ids=["epsilon", "v_prediction"])
def test_both_kinds_equal_diffusers_ddim(config: dict[str, Any], steps: int) -> None:
    scheduler = DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    schedule = Schedule.from_manifest(config)
    assert tuple(int(t) for t in scheduler.timesteps) == schedule.timesteps(steps)
    noise = batch_noise([5, 6], SHAPE[1:])
    sample = torch.from_numpy(schedule.initial_sample(noise, 999))
    for t in schedule.timesteps(steps):
        sample = scheduler.step(torch.from_numpy(network(sample.numpy(), t)), t, sample, eta=0.0).prev_sample
    np.testing.assert_allclose(draw(schedule, noise, steps), sample.numpy(), rtol=1e-4, atol=2e-4)


@given(st.sampled_from([TURBO, EMOJI]), st.integers(0, 998), st.integers(0, 2**32))
def test_denoised_inverts_the_forward_process(config: dict[str, Any], timestep: int, seed: int) -> None:
    schedule = Schedule.from_manifest(config)
    clean, noise = batch_noise([seed, seed + 1], SHAPE[1:])[:, None]
    signal = np.float32(schedule.alphas_cumprod[timestep] ** 0.5)
    level = np.float32((1 - schedule.alphas_cumprod[timestep]) ** 0.5)
    sample = signal * clean + level * noise
    output = noise if schedule.prediction_type == "epsilon" else signal * noise - level * clean
    tolerance = 1e-5 / float(signal)
    np.testing.assert_allclose(schedule.denoised(sample, output, timestep), clean, atol=tolerance)


@given(st.sampled_from([TURBO, EMOJI]), st.integers(1, 998), st.data())
def test_a_step_with_the_true_output_lands_on_the_forward_process(
    config: dict[str, Any], timestep: int, data: st.DataObject
) -> None:
    schedule = Schedule.from_manifest(config)
    next_timestep = data.draw(st.integers(0, timestep - 1))
    clean, noise = batch_noise([1, 2], SHAPE[1:])[:, None]

    def level(t: int) -> tuple[np.float32, np.float32]:
        alpha = schedule.alphas_cumprod[t]
        return np.float32(alpha**0.5), np.float32((1 - alpha) ** 0.5)

    a, s = level(timestep)
    output = noise if schedule.prediction_type == "epsilon" else a * noise - s * clean
    b, r = level(next_timestep)
    moved = schedule.step(a * clean + s * noise, output, timestep, next_timestep)
    np.testing.assert_allclose(moved, b * clean + r * noise, atol=1e-5 / float(a))


def test_zero_snr_keeps_the_first_level_and_decreases() -> None:
    plain, rescaled = (
        Schedule.from_manifest(TURBO).alphas_cumprod,
        Schedule.from_manifest(EMOJI).alphas_cumprod,
    )
    assert rescaled[0] == pytest.approx(plain[0], rel=1e-12)
    assert (np.diff(rescaled) < 0).all()
    assert rescaled.dtype == np.float64


@pytest.mark.parametrize("steps", [0, 5, -1, 1.0, True, "1"])
def test_steps_out_of_range_are_refused(steps: Any) -> None:
    allowed = "1 to 4" if type(steps) is int else "an integer from 1 to 4"
    with pytest.raises(InvalidInputError) as caught:
        Schedule.from_manifest(TURBO).timesteps(steps)
    assert caught.value.message == f"num_inference_steps is {steps!r}, expected {allowed}"
    assert caught.value.argument == "num_inference_steps"


def test_what_the_config_leaves_out_is_false() -> None:
    plain = {key: value for key, value in TURBO.items() if key != "rescale_betas_zero_snr"}
    said = Schedule.from_manifest({**plain, "rescale_betas_zero_snr": False})
    np.testing.assert_array_equal(Schedule.from_manifest(plain).alphas_cumprod, said.alphas_cumprod)
    assert said.prediction_type == "epsilon"
    assert Schedule.from_manifest(EMOJI).prediction_type == "v_prediction"


def test_as_many_steps_as_there_are_timesteps() -> None:
    assert Schedule.from_manifest({**TURBO, "num_train_timesteps": 4}).timesteps(4) == (3, 2, 1, 0)
    assert Schedule.from_manifest({**TURBO, "num_train_timesteps": 2}).timesteps(1) == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction_type": "sample"}, "prediction_type is 'sample', expected 'epsilon' or 'v_prediction'"),
        ({"timestep_spacing": "leading"}, "timestep_spacing is 'leading', expected 'trailing'"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule is 'squaredcos_cap_v2'"),
        ({"beta_start": None}, "beta_start is None, expected a finite number"),
        ({"beta_end": float("nan")}, "beta_end is nan, expected a finite number"),
        ({"num_train_timesteps": float("inf")}, "num_train_timesteps is inf, expected a finite number"),
        ({"num_train_timesteps": 10**400}, "num_train_timesteps is 10+, expected a finite number"),
        ({"num_train_timesteps": 1e300}, r"num_train_timesteps is 1e\+300, expected an integer from 2 to"),
        ({"num_train_timesteps": 999.5}, "num_train_timesteps is 999.5, expected an integer from 2 to"),
        ({"num_train_timesteps": 1}, "num_train_timesteps is 1, expected an integer from 2 to 100000"),
        ({"beta_end": 1.5}, "0 < beta_start <= beta_end < 1"),
        (
            {"rescale_betas_zero_snr": True},
            "prediction_type is 'epsilon', expected v_prediction with rescale_betas_zero_snr",
        ),
    ],
)
def test_schedules_it_does_not_know_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        Schedule.from_manifest({**TURBO, **change})
    named = "prediction_type" if "rescale_betas_zero_snr" in change else next(iter(change))
    assert named in caught.value.argument.split(", ")
