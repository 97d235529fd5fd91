"""One run from config file to checkpoint file."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from training.atomic import save_atomically
from training.ladd.alignment import Alignment
from training.ladd.alignment_state import ALIGNMENT_FILE, AlignmentState
from training.ladd.config import LaddConfig
from training.ladd.config_file import read_ladd_config
from training.ladd.gate import Gate
from training.ladd.journal import METRICS_FILE, room_for
from training.ladd.setup import Parts, assemble
from training.ladd.state import STATE_FILE, RunState
from training.ladd.trainer import Trainer
from training.ladd.warm_start import start_from
from training.models.checkpoint import AdapterMetadata, load_adapter, save_adapter
from training.models.lora import lora_state
from training.models.split_unet import bottleneck_side
from training.parallel import Processes

logger = logging.getLogger(__name__)

GATE_FILE = "gate.json"


def train(
    config_path: Path,
    *,
    family: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    init: Path | None = None,
    retrieves: bool = True,
    minutes: float | None = None,
    device: str = "cpu",
) -> tuple[Path, Gate]:
    """Train adapter and LoRA (or the LoRA alone), measure the gate, write the checkpoint.

    Args:
        config_path: A TOML file, see `training.ladd.config`.
        family: The base's folder; None = the config's.
        out: The file to write; None = `adapter.safetensors` or `lora_only.safetensors` in the family's
            folder.
        resume: Go on from the last checkpoint of the config's work_dir.
        init: An adapter file whose weights a new run starts from; it must be of the same base.
        retrieves: False: the LoRA-only control.
        minutes: Take no more steps than fit into this training time.
        device: "cpu" or "cuda[:i]".

    Returns:
        The file that was written, and the gate. The file is written even if the gate is not passed.

    Raises:
        ValueError: The config, the family, the work folder or `init` cannot be used, or there is a run and `resume`
            is not set.
        OSError: A file is missing or cannot be written.
        NonFiniteLossError: A loss or gradient is not finite.
    """
    config = read_ladd_config(config_path)
    family = family or Path(config.family)
    config = replace(config, family=str(family))
    folder = Path(config.work_dir) / ("adapter" if retrieves else "lora_only")
    out = out or family / ("adapter.safetensors" if retrieves else "lora_only.safetensors")
    if any((folder / name).exists() for name in (STATE_FILE, ALIGNMENT_FILE)) and not resume:
        raise ValueError(
            f"{folder} holds a run already; go on with --resume, or delete the folder to start anew"
        )
    if minutes is not None and minutes <= 0:
        raise ValueError(f"--minutes is {minutes}; it must be more than 0")
    processes = Processes(_checked(device))
    start = None if init is None else load_adapter(init)
    with processes.main_first():
        parts = assemble(config, family, retrieves=retrieves, device=processes.device)
    if start is not None:
        start_from(start, parts.student, parts.hashes, config.student)
    aligns = retrieves and config.alignment.steps > 0 and start is None and not (folder / STATE_FILE).exists()
    processes.wait()  # before the first state is written: all must have looked
    kept = AlignmentState(folder, RunState(folder, config, parts.hashes, retrieval=retrieves).identity)
    if aligns:
        alignment = Alignment(
            config.alignment, parts, clip_norm=config.optimiser.clip_norm, processes=processes
        )
        alignment.run(kept, save_minutes=config.run.save_minutes)
    trainer = Trainer(config, parts, folder, processes=processes, retrieves=retrieves)
    if aligns:
        trainer.save()  # a run that is stopped from here on need not align again
        processes.wait()
        kept.remove()
    elif resume:
        trainer.resume()
    if processes.is_main:
        _log_shares(parts)
    trainer.run(minutes=minutes)
    return _finish(config, trainer, out)


def _finish(config: LaddConfig, trainer: Trainer, out: Path) -> tuple[Path, Gate]:
    """Measure the gate and write the checkpoint; only the main process writes."""
    gate, parts = trainer.measure_gate(), trainer.parts
    if trainer.processes.is_main:
        _record(trainer.folder, gate, trainer.step)
        out.parent.mkdir(parents=True, exist_ok=True)
        with trainer.average.applied():
            metadata = describe(config, parts, step=trainer.step, retrieves=trainer.retrieves)
            save_adapter(out, parts.student.adapter, lora_state(parts.student.unet), metadata)
    trainer.processes.wait()
    return out, gate


def describe(config: LaddConfig, parts: Parts, *, step: int, retrieves: bool) -> AdapterMetadata:
    """Say what a checkpoint was trained for: all that the exporter must know."""
    calibration = parts.training.neighbours.calibration
    unet = parts.student.unet.config
    side = bottleneck_side(parts.student.unet)
    return AdapterMetadata(
        family=parts.family.name,
        base_hashes=parts.hashes,
        rank=config.student.lora_rank,
        alpha=config.student.lora_alpha,
        channels=int(unet.block_out_channels[-1]),
        num_attention_heads=config.student.attention_heads,
        norm_num_groups=config.student.norm_groups,
        tokens=(side // config.retrieval.reference_pool) ** 2,
        references=config.retrieval.references,
        similarity_low=calibration.low,
        similarity_high=calibration.high,
        reference_timestep=config.retrieval.reference_timestep,
        reference_caption=config.retrieval.reference_caption,
        reference_pool=config.retrieval.reference_pool,
        trained_timesteps=(parts.student.timestep,),
        step=step,
        retrieval=retrieves,
        feature_codec=config.retrieval.feature_codec,
    )


def _checked(device: str) -> str:
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device is {device}, but torch sees no CUDA device here; use --device cpu")
    return device


def _log_shares(parts: Parts) -> None:
    trained, base = parts.student.shares()
    logger.info(
        "trained: %s parameters, %.2f %% of the U-Net's %s", f"{trained:,}", 100 * trained / base, f"{base:,}"
    )


def _record(folder: Path, gate: Gate, step: int) -> None:
    record = {"step": step, "gate": gate.as_record()}
    with room_for(folder / METRICS_FILE), (folder / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    text = json.dumps(record, indent=2) + "\n"
    save_atomically(folder / GATE_FILE, lambda beside: beside.write_text(text, encoding="utf-8"))
