"""The paper's comparisons: each learns what it should, and is trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from training.baselines.__main__ import main
from training.baselines.config import BaselinesConfig, LcmConfig, RdmConfig, read_baselines_config
from training.baselines.lcm import ConsistencyLoss, draw_latents_with_lcm
from training.baselines.stages import BaselinesRun
from training.family.folder import DIFFUSERS_WEIGHTS, load_family, load_teacher
from training.family.random_family import random_family
from training.family.shapes import SCHEDULER

SMALL = "scenes = 12\n[lcm]\nsteps = 2\nbatch = 4\n[rdm]\nsteps = 2\nbatch = 4\n"


@pytest.fixture(scope="module")
def family_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family") / "nano")


@pytest.fixture
def consistency(family_path: Path) -> ConsistencyLoss:
    family, teacher = load_family(family_path), load_teacher(family_path)
    latents = torch.randn(6, 4, 8, 8)
    return ConsistencyLoss(
        LcmConfig(steps=90, batch=6, solver_steps=8), load_teacher(family_path).requires_grad_(True), teacher,
        family.text, SCHEDULER, latents, ("a cat",) * 6,
    )  # fmt: skip


def test_the_teachers_rung_is_diffusers_ddim_step(consistency: ConsistencyLoss) -> None:
    scheduler = DDIMScheduler.from_config(SCHEDULER, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    sample, prompts = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 16)
    nothing = torch.randn(1, 77, 16)
    for high in (299, 599):
        with torch.no_grad():
            ours = consistency._climb_down(
                sample, torch.tensor([high]), torch.tensor([high - 100]), prompts, nothing
            )
            one, other = (
                consistency.teacher(sample, high, encoder_hidden_states=embeds).sample
                for embeds in (prompts, nothing)
            )
        guided = other + 3.0 * (one - other)
        expected = scheduler.step(guided, high, sample).prev_sample
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_the_ladders_rungs_double(consistency: ConsistencyLoss) -> None:
    assert [consistency.rungs(step) for step in (0, 29, 30, 59, 60, 89)] == [2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize("steps", [0, 1, 3, 12])
def test_a_ladder_that_doubling_never_reaches_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"solver_steps is {steps}; it must be a power of two"):
        LcmConfig(solver_steps=steps)


def test_a_model_that_knows_the_end_is_not_moved(
    consistency: ConsistencyLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every point leads to the same latents, teacher and student agree: the loss is nothing but rounding."""
    truth = consistency.latents[:1].expand(6, -1, -1, -1)
    consistency.latents = truth.clone()

    def velocity(model: object, sample: torch.Tensor, timesteps: torch.Tensor, _: object) -> torch.Tensor:
        share = consistency.diffusion.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
        return (share.sqrt() * sample - truth) / (1 - share).sqrt()

    monkeypatch.setattr(consistency, "_split", velocity)
    assert float(consistency(0, torch.Generator().manual_seed(0))) < 1e-4


def test_both_are_trained_once_and_saved_as_diffusers_models(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    arguments = ["--config", str(tmp_path / "small.toml"), "--family", str(family_path)]
    arguments += ["--work", str(tmp_path / "work")]
    assert main(arguments) == 0
    files = [family_path / name / DIFFUSERS_WEIGHTS for name in ("lcm", "rdm")]
    before = [file.stat().st_mtime_ns for file in files]
    assert {path.name for path in (tmp_path / "work").glob("*.png")} == {"lcm_000002.png", "rdm_000002.png"}
    assert main(arguments) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    (tmp_path / "small.toml").write_text("scenes = 12\nstep = 3\n")
    assert main(arguments) == 2
    assert "step" in capsys.readouterr().err


def test_an_rdm_sees_the_prompt_and_what_it_finds(family_path: Path, tmp_path: Path) -> None:
    run = BaselinesRun(BaselinesConfig(4, LcmConfig(), RdmConfig()), family_path, tmp_path)
    caption = run.shown[0].caption
    seen = run.library.conditioning(run.text, [caption, caption], 3)
    assert seen.shape == (2, 4, 16)
    torch.testing.assert_close(seen.square().mean(dim=2), torch.ones(2, 4))
    keys = run.text.encode([caption])[1]
    nearest = int((keys @ run.library.keys.T).argmax())
    torch.testing.assert_close(seen[0, 1] / 4, run.library.pictures[nearest])


def test_four_steps_are_reproducible_and_follow_the_prompt(family_path: Path) -> None:
    teacher = load_teacher(family_path)
    noise, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 16)
    drawn = [draw_latents_with_lcm(teacher, SCHEDULER, noise, embeds, steps=4) for _ in range(2)]
    assert torch.equal(*drawn)
    other = draw_latents_with_lcm(teacher, SCHEDULER, noise, embeds.flip(0), steps=4)
    assert not torch.allclose(other, drawn[0], atol=1e-3)


def test_defaults_and_the_committed_config_agree_on_the_keys() -> None:
    config = read_baselines_config(Path("training/configs/baselines_emoji.toml"))
    assert config.lcm.steps >= 1000
    assert config.rdm.steps >= 1000
