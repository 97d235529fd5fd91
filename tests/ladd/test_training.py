"""Steps, runs, and what survives a stop."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ragturbo_runtime.sampler import Schedule
from training.family.folder import load_family
from training.ladd.__main__ import main
from training.ladd.alignment import Alignment
from training.ladd.alignment_state import AlignmentState
from training.ladd.config import AlignmentConfig
from training.ladd.errors import NonFiniteLossError
from training.ladd.setup import Parts
from training.ladd.trainer import Trainer, learning_rate_factor
from training.models.checkpoint import load_adapter
from training.models.lora import lora_state
from training.parallel import Processes

MakeTrainer = Callable[..., Trainer]


def test_untrained_student_is_the_base_bit_for_bit(parts: Parts, family_path: Path) -> None:
    base = load_family(family_path).unet
    base.set_attn_processor(type(next(iter(parts.student.unet.attn_processors.values())))())
    batch = parts.held_out.held_out([0, 1], "right", masked=False, seed=0)
    embeds, _ = parts.family.text.encode(list(batch.shown))
    schedule = Schedule.from_manifest(parts.family.scheduler)
    with torch.no_grad():
        sample = torch.from_numpy(schedule.initial_sample(batch.noise.numpy(), 999))
        output = base(sample, 999, encoder_hidden_states=embeds).sample
        expected = schedule.denoised(sample.numpy(), output.numpy(), 999)
        encoded = parts.student.encode(batch.noise, embeds)
        reference_h = parts.features.read(batch.rows, batch.changed)
        drawn = parts.student.decode(encoded, reference_h, batch.weights)
    assert (batch.weights > 0).any()
    np.testing.assert_array_equal(drawn.numpy(), expected)


def test_only_adapter_and_lora_are_trained(parts: Parts) -> None:
    trained = {id(parameter) for parameter in parts.student.parameters()}
    unet = dict(parts.student.unet.named_parameters())
    assert all((id(parameter) in trained) == parameter.requires_grad for parameter in unet.values())
    assert all(name.startswith("up_blocks") for name, parameter in unet.items() if parameter.requires_grad)
    assert not any(parameter.requires_grad for parameter in parts.judge.teacher.parameters())


def test_steps_on_one_batch_bring_its_losses_down(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer()
    # Step 1 deals the same batch, views and noise each time.
    before = [trainer.train_step(1) for _ in range(40)]
    assert before[-1]["loss/smooth_l1"] < before[0]["loss/smooth_l1"]
    assert before[-1]["loss/perceptual"] < before[0]["loss/perceptual"]
    assert before[-1]["loss/heads"] < before[0]["loss/heads"]


def test_the_student_learns_from_its_references(new_trainer: MakeTrainer) -> None:
    """Gradients reach the adapter: proj_out in the first step, what lies before it from the second on."""
    trainer = new_trainer()
    adapter = trainer.parts.student.adapter
    start = {name: value.clone() for name, value in adapter.state_dict().items()}
    step = next(step for step in range(20) if trainer.parts.training.training(step, 4).weights.sum() > 0)
    trainer.train_step(step)
    assert not torch.equal(adapter.proj_out.weight, start["proj_out.weight"])
    trainer.train_step(step)
    assert not torch.equal(adapter.block.attn2.to_v.weight, start["block.attn2.to_v.weight"])


def test_every_loss_and_its_gradient_is_told(new_trainer: MakeTrainer) -> None:
    metrics = new_trainer().train_step(0)
    for name in ("smooth_l1", "perceptual", "adversarial"):
        assert metrics[f"gradient/{name}"] > 0
        assert np.isfinite(metrics[f"loss/{name}"])
    assert metrics["weight/adversarial"] == 0  # the ramp starts here
    assert {"logit/real", "logit/fake", "logit/misaligned", "gradient/student", "gradient/heads"} <= set(
        metrics
    )


def weights_of(trainer: Trainer) -> list[torch.Tensor]:
    heads = trainer.parts.heads.state_dict().values()
    return [*(parameter.detach() for parameter in trainer.trained), *trainer.average.means, *heads]


def test_stop_and_resume_gives_the_weights_of_no_stop(
    new_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = new_trainer(folder="straight")
    straight.run()

    def stop() -> dict[str, Path]:
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C in the midst of a step
        return {}

    stopped = new_trainer(sheet_every=3)
    monkeypatch.setattr(stopped, "draw_sheet", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = new_trainer()
    resumed.resume()
    assert resumed.step == 3
    resumed.run()
    assert resumed.step == straight.step == 6
    for one, other in zip(weights_of(straight), weights_of(resumed), strict=True):
        assert torch.equal(one, other)
    lines = [json.loads(line) for line in (resumed.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss/smooth_l1" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "held_out/right" in line] == [3, 6]


def test_a_number_that_is_none_stops_the_run_and_leaves_the_checkpoint(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer()
    trainer.run()
    saved = trainer.state.path.read_bytes()
    with torch.no_grad():
        trainer.trained[0].fill_(torch.nan)
    trainer.total_steps = 8
    with pytest.raises(NonFiniteLossError, match="step 6: loss/") as caught:
        trainer.run()
    assert caught.value.step == 6
    assert trainer.state.path.read_bytes() == saved


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
def test_a_full_disk_leaves_the_last_state_and_the_run_goes_on(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer()
    trainer.run()
    saved = trainer.state.path.read_bytes()
    trainer.total_steps = 8
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(saved) // 2, hard))
    try:
        with pytest.raises(
            OSError, match=r"state\.pt: cannot be written .* run the same command again, with --resume"
        ):
            trainer.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert trainer.state.path.read_bytes() == saved
    again = new_trainer()
    again.resume()
    assert again.step == 6
    again.total_steps = 8
    again.run()
    assert again.step == 8


def test_a_state_of_another_run_is_refused(new_trainer: MakeTrainer) -> None:
    new_trainer().save()
    with pytest.raises(ValueError, match="retrieval: True there, False here"):
        new_trainer(retrieves=False).resume()


def test_a_state_from_before_configs_were_hashed_goes_on(new_trainer: MakeTrainer) -> None:
    older = new_trainer()
    del older.state.identity["base"]["configs"]
    older.save()
    new_trainer().resume()
    older.state.identity["base"]["configs"] = "0" * 64
    older.save()
    with pytest.raises(ValueError, match=r"another config or family \(base"):
        new_trainer().resume()


def test_a_cut_state_is_named(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer()
    trainer.save()
    trainer.state.path.write_bytes(trainer.state.path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state\.pt: cannot be read .* delete it to start the run anew"):
        trainer.resume()


def test_without_retrieval_there_is_no_adapter_and_nothing_is_masked(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer(retrieves=False)
    assert trainer.parts.student.adapter is None
    metrics = [trainer.train_step(step) for step in range(3)]
    assert all(one["masked"] == one["references"] == 0 for one in metrics)
    assert any(
        value.abs().sum() > 0
        for name, value in lora_state(trainer.parts.student.unet).items()
        if "lora_B" in name
    )
    gate = trainer.measure_gate()
    assert gate.losses["plain"]["right"] == gate.losses["plain"]["none"]


def test_the_averages_are_what_is_drawn_and_kept(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer()
    trainer.train_step(0)
    own = [parameter.detach().clone() for parameter in trainer.trained]
    with trainer.average.applied():
        inside = [parameter.detach().clone() for parameter in trainer.trained]
    assert all(torch.equal(one, mean) for one, mean in zip(inside, trainer.average.means, strict=True))
    assert all(torch.equal(one, parameter) for one, parameter in zip(own, trainer.trained, strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(own, inside, strict=True))


def test_learning_rate_rises_stays_and_falls(new_trainer: MakeTrainer) -> None:
    settings = new_trainer().config.optimiser
    factors = [learning_rate_factor(step, 100, settings) for step in range(100)]
    assert factors[0] == 0.5
    assert factors[10] == factors[60] == 1.0
    assert 0 < factors[99] < 0.01


def write_config(path: Path, family: Path, work: Path) -> Path:
    path.write_text(
        f"""
family = "{family}"
work_dir = "{work}"
[pairs]
count = 8
held_out = 4
steps = 1
batch = 8
shard_size = 8
[retrieval]
references = 2
candidates = 4
[student]
lora_rank = 2
lora_alpha = 2
attention_heads = 2
[losses]
head_width = 8
[optimiser]
steps = 2
batch = 4
[run]
bf16 = "off"
log_every = 1
sheet_rows = 2
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("options", [[], ["--no-retrieval"]], ids=["adapter", "LoRA alone"])
def test_one_command_trains_and_writes_a_checkpoint(
    options: list[str], family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "run.toml", family_path, tmp_path / "work")
    arguments = ["--config", str(config), "--out", str(tmp_path / "out.safetensors"), *options]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "held-out loss" in printed
    assert "gate" in printed
    checkpoint = load_adapter(tmp_path / "out.safetensors")
    assert checkpoint.metadata.retrieval == (not options)
    assert checkpoint.metadata.step == 2
    assert checkpoint.metadata.trained_timesteps == (999,)
    assert bool(checkpoint.adapter_state) == (not options)
    assert checkpoint.metadata.similarity_low < checkpoint.metadata.similarity_high
    folder = tmp_path / "work" / ("lora_only" if options else "adapter")
    assert json.loads((folder / "gate.json").read_text())["gate"]["losses"]["plain"]["right"] > 0
    assert (folder / "sheets" / "000002.png").exists()
    assert main(arguments) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_a_run_can_start_from_an_earlier_adapter(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "run.toml", family_path, tmp_path / "work")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert main(["--config", str(config), "--out", str(first)]) == 0
    shutil.rmtree(tmp_path / "work" / "adapter")
    again = ["--config", str(config), "--out", str(second), "--init", str(first)]
    still = config.read_text().replace("steps = 2", "steps = 1\nlearning_rate = 1e-12\nema = 0.0")
    config.write_text(still)
    assert main(again) == 0
    ours, theirs = load_adapter(second), load_adapter(first)
    for name, weight in theirs.adapter_state.items():
        torch.testing.assert_close(ours.adapter_state[name], weight)
    for name, weight in theirs.lora_state.items():
        torch.testing.assert_close(ours.lora_state[name], weight)
    shutil.rmtree(tmp_path / "work" / "adapter")
    config.write_text(still.replace("lora_rank = 2", "lora_rank = 3"))
    capsys.readouterr()
    assert main(again) == 2
    assert "lora_rank = 2, this run has 3; set [student] lora_rank to 2" in capsys.readouterr().err
    config.write_text(still)
    alone = tmp_path / "alone.safetensors"
    assert main(["--config", str(config), "--out", str(alone), "--no-retrieval"]) == 0
    assert main([*again[:-1], str(alone)]) == 2
    assert "it holds no adapter" in capsys.readouterr().err


@pytest.mark.parametrize("stopped_in", ["alignment", "ladd"])
def test_a_run_that_aligns_and_is_stopped_ends_as_one_that_is_not(
    stopped_in: str, family_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(name: str) -> list[str]:
        config = write_config(tmp_path / f"{name}.toml", family_path, tmp_path / name)
        aligns = "\n[alignment]\nsteps = 6\nbatch = 4\nlog_every = 2\n"
        config.write_text(config.read_text() + aligns)
        return ["--config", str(config), "--out", str(tmp_path / f"{name}.safetensors")]

    def interrupted(*arguments: object, **options: object) -> object:
        seen.append(1)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments, **options)

    assert main(command("straight")) == 0
    seen: list[int] = []
    place, name = (Alignment, "measure") if stopped_in == "alignment" else (Trainer, "train_step")
    real = getattr(place, name)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, interrupted)
        assert main(command("stopped")) == 130
    folder = tmp_path / "stopped" / "adapter"
    assert (folder / "alignment.pt").exists() == (stopped_in == "alignment")
    assert main(command("stopped")) == 2  # not without --resume
    assert main([*command("stopped"), "--resume"]) == 0
    assert not (folder / "alignment.pt").exists()
    straight, again = (load_adapter(tmp_path / f"{name}.safetensors") for name in ("straight", "stopped"))
    assert straight.adapter_state.keys() == again.adapter_state.keys()
    for one, other in (
        (straight.adapter_state, again.adapter_state),
        (straight.lora_state, again.lora_state),
    ):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_alignment_of_another_run_and_a_cut_one_are_refused(parts: Parts, tmp_path: Path) -> None:
    settings = AlignmentConfig(steps=2, batch=4)
    alignment = Alignment(settings, parts, clip_norm=1.0, processes=Processes())
    alignment.run(AlignmentState(tmp_path, {"seed": 0}), save_minutes=0.0)
    path = tmp_path / "alignment.pt"
    with pytest.raises(
        ValueError, match=r"alignment\.pt: .* another config or family.* delete it to align anew"
    ):
        alignment.run(AlignmentState(tmp_path, {"seed": 1}))
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(ValueError, match=r"alignment\.pt: cannot be gone on with .* delete it to align anew"):
        alignment.run(AlignmentState(tmp_path, {"seed": 0}))


def test_bad_input_is_one_line_and_status_2(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "run.toml", tmp_path / "nowhere", tmp_path / "work")
    assert main(["--config", str(config)]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    assert main(["--config", str(config), "--family", str(family_path), "--minutes", "0"]) == 2
    assert capsys.readouterr().err.strip().count("\n") <= 1
