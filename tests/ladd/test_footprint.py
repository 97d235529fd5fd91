"""Less memory, the same training: bfloat16 where nothing is trained, checkpointing; and what measures it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from training.family.folder import load_family
from training.family.random_family import random_family
from training.ladd.config import RunConfig
from training.ladd.config_file import parse_ladd_config
from training.ladd.footprint import default_config, main
from training.ladd.frozen import load_frozen, prepare
from training.ladd.random_material import for_measuring, random_material
from training.ladd.run import describe
from training.ladd.setup import put_together
from training.ladd.trainer import Trainer
from training.models.checkpoint import load_adapter, save_adapter
from training.models.lora import lora_state
from training.parallel import Processes

MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small")


def measured(family: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main(["--family", str(family), "--json", str(out), *options]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.slow
def test_the_command_takes_one_whole_step_and_says_what_it_took(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = ("--batch", "16")
    found = measured(family_path, tmp_path / "found.json", *batch)
    printed = capsys.readouterr().out
    trained = found["parameters"]["adapter"] + found["parameters"]["lora"]
    assert f"trained: {trained:,} parameters" in printed
    assert found["trained_share"] == pytest.approx(trained / found["parameters"]["unet"])
    assert found["metrics"]["references"] > 0
    assert found["metrics"]["gradient/student"] > 0
    assert found["metrics"]["gradient/heads"] > 0
    # Convolutions and linear layers are most of a U-Net: half its bytes.
    assert found["bytes"]["unet"] < 2.1 * found["parameters"]["unet"]
    stages = found["stages"]
    assert all(stage["peak_bytes"] >= stage["before_bytes"] > 0 for stage in stages.values())
    # The teacher alone runs its encoder seven times a pair: a guided step of it runs the U-Net twice.
    assert stages["optimisation step"]["flops"] > 3 * stages["teacher, one guided sampler step"]["flops"] > 0
    # What the shapes say is what was computed, and they need neither weights nor the time.
    dry = measured(family_path, tmp_path / "dry.json", "--dry", *batch)
    assert dry["flops"] == pytest.approx(stages["optimisation step"]["flops"], rel=0.05)
    assert sum(found["bytes"].values()) == pytest.approx(dry["resident_bytes"], rel=0.03)
    assert dry["weights_bytes"] < dry["resident_bytes"] < dry["peak_bytes"]
    without = measured(family_path, tmp_path / "without.json", "--dry", "--no-checkpointing", *batch)
    assert without["flops"] < 0.9 * dry["flops"]
    assert without["peak_bytes"] > dry["peak_bytes"]


def test_a_whole_step_of_sd_turbos_structure_trains_student_and_discriminator(
    small: Path, tmp_path: Path
) -> None:
    """Epsilon prediction, four resolutions, a decoder block without attention: the same step as at full size."""
    config = for_measuring(default_config(small), 2)
    family, teacher = load_frozen(small, config.run, device=torch.device("cpu"))
    material = random_material(family, pairs=2, entries=config.retrieval.references)
    parts = put_together(config, family, teacher, material, retrieves=True, bf16=True)
    trainer = Trainer(config, parts, tmp_path, processes=Processes(), retrieves=True)
    trained = {id(one) for one in trainer.trained}
    frozen = {name: one for name, one in parts.student.unet.named_parameters() if id(one) not in trained}
    frozen |= {f"teacher.{name}": one for name, one in teacher.named_parameters()}
    heads = dict(parts.heads.named_parameters())
    before = {name: one.detach().clone() for some in (frozen, heads) for name, one in some.items()}
    start = [one.detach().clone() for one in trainer.trained]
    metrics = [trainer.train_step(step) for step in range(2)]
    for one in metrics:
        assert all(np.isfinite(value) for value in one.values())
        assert min(one[f"gradient/{name}"] for name in ("student", "heads", "smooth_l1", "perceptual")) > 0
        assert one["weight/adversarial"] == config.losses.adversarial > 0
        assert one["gradient/adversarial"] > 0
        assert {"logit/real", "logit/fake", "logit/misaligned"} <= set(one)
    # B of the LoRA and proj_out move in the first step, all that lies before them in the second.
    assert all(not torch.equal(one, old) for one, old in zip(trainer.trained, start, strict=True))
    assert any(not torch.equal(one, before[name]) for name, one in heads.items())
    assert all(torch.equal(one, before[name]) for name, one in frozen.items())
    assert any(name.startswith("up_blocks.0.") for name in lora_state(parts.student.unet))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "1"], "--batch is 1; it must be 2 or more"),
        (["--family", "nowhere"], "nowhere"),
        (["--config", "none.toml"], "none.toml"),
        (["--family", "nowhere", "--dry"], "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    family_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--family", str(family_path), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error
    assert "\n" not in error


def test_checkpointing_changes_no_gradient(new_trainer: MakeTrainer) -> None:
    plain, sparing = new_trainer(folder="plain"), new_trainer(folder="sparing", gradient_checkpointing=True)
    assert sparing.parts.student.unet.is_gradient_checkpointing
    for step in (0, 1):  # proj_out and B start at zero: only the second step reaches what lies before them
        before, after = plain.train_step(step), sparing.train_step(step)
        assert before == pytest.approx(after, rel=1e-5)
        for one, other in zip(plain.trained, sparing.trained, strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_what_is_trained_and_kept_is_float32_over_a_bfloat16_base(
    new_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = new_trainer(bf16="auto", frozen_dtype="bfloat16", gradient_checkpointing=True)
    parts = trainer.parts
    assert parts.bf16
    for unet in (parts.student.unet, parts.judge.teacher):
        assert unet.conv_in.weight.dtype == torch.bfloat16
        assert unet.conv_norm_out.weight.dtype == torch.float32
    metrics = trainer.train_step(0)
    assert metrics["gradient/student"] > 0
    assert {one.dtype for one in [*trainer.trained, *trainer.average.means]} == {torch.float32}
    state = trainer.optimisers["student"].state
    assert {state[one]["exp_avg_sq"].dtype for one in trainer.trained} == {torch.float32}
    path = tmp_path / "adapter.safetensors"
    metadata = describe(trainer.config, parts, step=1, retrieves=True)
    save_adapter(path, parts.student.adapter, lora_state(parts.student.unet), metadata)
    saved = load_adapter(path)
    tensors = [*saved.adapter_state.values(), *saved.lora_state.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert saved.metadata.base_hashes == parts.hashes  # of the files, whatever lies in memory


def test_a_bfloat16_base_draws_nearly_what_the_base_draws(new_trainer: MakeTrainer) -> None:
    exact, halved = (
        new_trainer(folder="exact"),
        new_trainer(folder="halved", bf16="on", frozen_dtype="bfloat16"),
    )
    batch = exact.parts.held_out.held_out([0, 1], "right", masked=False, seed=0)
    expected, drawn = exact.draw(batch), halved.draw(batch)
    assert float((drawn - expected).norm() / expected.norm()) < 0.05


def test_long_rows_of_tokens_get_attention_that_keeps_no_scores(small: Path) -> None:
    unet = load_family(small).unet
    prepare(unet, RunConfig())
    assert {type(one) for one in unet.attn_processors.values()} == {AttnProcessor}
    large = load_family(small).unet
    large.register_to_config(sample_size=64)
    prepare(large, RunConfig())
    assert AttnProcessor not in {type(one) for one in large.attn_processors.values()}


def test_bfloat16_weights_without_autocast_are_refused() -> None:
    run = {"bf16": "off", "frozen_dtype": "bfloat16"}
    with pytest.raises(ValueError, match='frozen_dtype is "bfloat16" and bf16 "off"'):
        parse_ladd_config({"family": "a", "work_dir": "b", "run": run}, "test")
