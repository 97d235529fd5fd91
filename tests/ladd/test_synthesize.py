"""The teacher's sampler, and the shards that its pairs are kept in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragturbo_runtime.sampler import Schedule
from training.ladd.pairs import RECIPE_FILE, PairRecipe, Pairs, PairShards, noise_of_seeds
from training.ladd.shard_file import checksum_path
from training.ladd.synthesize import solver_for

SHAPE = (4, 4, 4)
ZERO_SNR = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
}
SD_TURBO = {**ZERO_SNR, "prediction_type": "epsilon", "rescale_betas_zero_snr": False}
DEVIATION = 0.7  # of the Gaussian that the closed solution is for


def solve_for_gaussian(scheduler: dict, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Sample with the exact denoiser of N(0, DEVIATION^2): a linear function of the sample."""
    solver, schedule = solver_for(scheduler, steps), Schedule.from_manifest(scheduler)
    sample = start
    for timestep in solver.timesteps:
        alpha_bar = float(schedule.alphas_cumprod[int(timestep)])
        signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        variance = signal**2 * DEVIATION**2 + noise**2
        denoised, epsilon = signal * DEVIATION**2 / variance * sample, noise / variance * sample
        output = epsilon if scheduler["prediction_type"] == "epsilon" else signal * epsilon - noise * denoised
        sample = solver.step(output, timestep, sample, return_dict=False)[0]
    return sample


@pytest.mark.parametrize("scheduler", [ZERO_SNR, SD_TURBO], ids=["zero terminal SNR", "SD-Turbo"])
def test_solver_converges_to_the_closed_solution(scheduler: dict) -> None:
    """The flow of a Gaussian only rescales: x_0 = x_T * deviation / sqrt(alpha_bar * deviation^2 + 1 - alpha_bar)."""
    start = noise_of_seeds([5], SHAPE)
    last = float(Schedule.from_manifest(scheduler).alphas_cumprod[-1])
    exact = start * DEVIATION / (last * DEVIATION**2 + 1 - last) ** 0.5
    errors = [
        float((solve_for_gaussian(scheduler, start, steps) / exact - 1).abs().max()) for steps in (5, 10, 50)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.12
    assert errors[2] < 0.02


def test_noise_of_a_seed_is_the_runtimes() -> None:
    from ragturbo_runtime.noise import noise

    both = noise_of_seeds(torch.tensor([7, 8]), SHAPE)
    np.testing.assert_array_equal(both[1].numpy(), noise(8, SHAPE))


def recipe(**changes: object) -> PairRecipe:
    values = {
        "teacher": "a" * 64,
        "text_encoder": "b" * 64,
        "steps": 4,
        "guidance_scale": 3.0,
        "latent_shape": SHAPE,
        "first_seed": 100,
        "prompts": "numbered",
        "shard_size": 5,
    }
    return PairRecipe(**{**values, **changes})


def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Pairs]:
    for first in range(0, len(prompts), 2):
        some = list(seeds[first : first + 2])
        yield Pairs(tuple(prompts[first : first + 2]), torch.tensor(some), noise_of_seeds(some, SHAPE))


def prompt_of(row: int) -> str:
    return f"{row} émoji"


def test_shards_give_back_what_was_written(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(12, prompt_of, draw)
    pairs = PairShards(tmp_path, recipe()).load()
    assert len(pairs) == 15  # whole shards
    assert pairs.prompts[11] == "11 émoji"
    assert pairs.seeds.tolist() == list(range(100, 115))
    torch.testing.assert_close(pairs.latents, noise_of_seeds(range(100, 115), SHAPE), atol=2e-3, rtol=0)
    assert len(shards.load(7)) == 7


def test_fill_makes_only_what_is_missing(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(15, prompt_of, draw)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shards.shard_path(1).unlink()
    asked: list[str] = []

    def counted(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Pairs]:
        asked.extend(prompts)
        return draw(prompts, seeds)

    shards.fill(15, prompt_of, counted)
    assert asked == [prompt_of(row) for row in range(5, 10)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupted_shard_is_not_there(tmp_path: Path) -> None:
    def fails(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Pairs]:
        yield from draw(prompts[:2], seeds[:2])
        raise KeyboardInterrupt

    shards = PairShards(tmp_path, recipe())
    with pytest.raises(KeyboardInterrupt):
        shards.fill(5, prompt_of, fails)
    assert shards.complete() == []


@pytest.mark.parametrize("keep", [0, 700, 3000])
def test_a_damaged_shard_is_named(tmp_path: Path, keep: int) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(5, prompt_of, draw)
    path = shards.shard_path(0)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"pairs-000000\.tar: not a shard of pairs .* delete it"):
        shards.load()


def test_pairs_of_another_recipe_are_refused(tmp_path: Path) -> None:
    PairShards(tmp_path, recipe())
    with pytest.raises(ValueError, match=r"another recipe \(guidance_scale: 3\.0 there, 7\.5 here\)"):
        PairShards(tmp_path, recipe(guidance_scale=7.5))


def test_latents_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    bad = Pairs(("a",), torch.tensor([1]), torch.full((1, *SHAPE), torch.nan))
    with pytest.raises(ValueError, match="NaN or infinity"):
        shards.write(0, bad)
    assert shards.complete() == []


def test_too_few_pairs_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 0 pairs, at least 1"):
        PairShards(tmp_path, recipe()).load()


@pytest.fixture(scope="module")
def one_shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard of five pairs."""
    folder = tmp_path_factory.mktemp("shard")
    PairShards(folder, recipe()).fill(5, prompt_of, draw)
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), of_checksum=st.booleans())
def test_every_flipped_bit_is_refused_by_name(
    one_shard: Path, place: float, bit: int, of_checksum: bool
) -> None:
    shards = PairShards(one_shard, recipe())
    path = shards.shard_path(0)
    changed = checksum_path(path) if of_checksum else path
    before = changed.read_bytes()
    flipped = bytearray(before)
    flipped[int(place * len(before))] ^= 1 << bit
    changed.write_bytes(flipped)
    try:
        if before.split() != bytes(flipped).split():  # white space in the checksum's line says nothing
            with pytest.raises(
                ValueError, match=r"pairs-000000\.tar: not a shard of pairs .* delete it and run"
            ):
                shards.load()
    finally:
        changed.write_bytes(before)
    assert len(shards.load()) == 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_damage_without_a_checksum_is_refused_by_name_or_harmless(
    one_shard: Path, tmp_path: Path, place: float, value: int
) -> None:
    """A shard from before there were checksums: nothing but our own error escapes."""
    shards = PairShards(tmp_path, recipe())
    data = bytearray((one_shard / "pairs-000000.tar").read_bytes())
    data[int(place * len(data))] = value
    shards.shard_path(0).write_bytes(data)
    try:
        assert shards.load().latents.shape == (5, *SHAPE)
    except ValueError as error:
        assert "pairs-000000.tar: not a shard of pairs" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "header",
    [b"{'descr': '<f2', 'fortran_order': False, 'shape': (4, 4, 4", b"{'descr': [[[[", b"{'shape': (1e9999"],
)
def test_an_array_with_a_broken_header_is_named(tmp_path: Path, one_shard: Path, header: bytes) -> None:
    """numpy reads headers with Python's own tokenizer, whose errors are no ValueError."""
    shards = PairShards(tmp_path, recipe())
    data = bytearray((one_shard / "pairs-000000.tar").read_bytes())
    start = data.index(b"{'descr'")
    data[start : start + 118] = header.ljust(118, b" ")
    shards.shard_path(0).write_bytes(data)
    with pytest.raises(ValueError, match=r"pairs-000000\.tar: not a shard of pairs"):
        shards.load()


def test_old_shards_without_a_checksum_are_read(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(10, prompt_of, draw)
    expected = shards.load()
    for file in tmp_path.glob("*.sha256"):
        file.unlink()
    assert torch.equal(PairShards(tmp_path, recipe()).load().latents, expected.latents)


def test_a_gap_is_named_and_filled_again(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(15, prompt_of, draw)
    shards.shard_path(1).unlink()
    with pytest.raises(
        ValueError, match=r"pairs-000001\.tar: missing, and later .* run the same command again"
    ):
        shards.load()
    assert len(shards.load(5)) == 5  # what is asked for lies before the gap
    shards.fill(15, prompt_of, draw)
    assert len(shards.load()) == 15


def test_a_file_with_another_name_is_no_shard(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(5, prompt_of, draw)
    for name in ("pairs-000001-copy.tar", "pairs-1.tar", "pairs-000001.tar.part"):
        (tmp_path / name).write_bytes(shards.shard_path(0).read_bytes())
    assert shards.complete() == [0]
    assert len(shards.load()) == 5


def test_a_shard_under_another_number_is_refused(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.fill(5, prompt_of, draw)
    shards.shard_path(1).write_bytes(shards.shard_path(0).read_bytes())
    with pytest.raises(ValueError, match=r"pairs-000001\.tar: .* begins with 000000005"):
        shards.load()


def test_a_folder_that_was_given_says_what_made_it(tmp_path: Path) -> None:
    PairShards(tmp_path, recipe()).fill(10, prompt_of, draw)
    given = PairShards.open(tmp_path)
    assert (tmp_path / RECIPE_FILE).exists()
    given.shard_path(0).write_bytes(b"")
    with pytest.raises(ValueError, match=r"pairs-000000\.tar: .* run python -m training\.synthesize again"):
        given.load()
    given.shard_path(0).unlink()
    with pytest.raises(
        ValueError, match=r"pairs-000000\.tar: missing.* run python -m training\.synthesize again"
    ):
        given.load()
