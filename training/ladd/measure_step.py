"""Takes one real optimisation step of a family, and measures memory, FLOPs and seconds of its stages."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.ladd.config import LaddConfig
from training.ladd.peak_memory import PeakMemory
from training.ladd.random_material import random_material

if TYPE_CHECKING:
    from training.family.folder import Family
    from training.ladd.setup import Parts


@dataclass(frozen=True)
class Stage:
    """What a part of the work took."""

    flops: int
    seconds: float
    before_bytes: int
    """In use when it began."""
    peak_bytes: int


@dataclass
class Footprint:
    """What a run takes."""

    family: str
    device: str
    batch: int
    references: int
    run: dict[str, Any]
    """The [run] table: dtype and checkpointing."""
    parameters: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    """Of weights as they lie in memory; "trained" with gradients, both AdamW states and the running mean."""
    trained_share: float = 0.0
    """Adapter and LoRA over the frozen U-Net."""
    stages: dict[str, Stage] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Losses and gradient norms of the step."""


def measure(config: LaddConfig, path: Path, *, device: torch.device) -> Footprint:
    """Load a family and take one step.

    Args:
        config: The run's config, from `for_measuring`.
        path: The family's folder.
        device: Where the networks go.

    Raises:
        FileNotFoundError: The family lacks a part.
        ValueError: Config and family do not fit.
        NonFiniteLossError: A loss or gradient is not finite.
    """
    from training.ladd.frozen import load_frozen
    from training.ladd.setup import put_together, resolve_bf16
    from training.ladd.trainer import Trainer
    from training.parallel import Processes

    batch = config.optimiser.batch
    bf16 = config.run.frozen_dtype == "bfloat16" or resolve_bf16(config.run.bf16, device)
    found = Footprint("", _name_of(device), batch, config.retrieval.references, asdict(config.run))
    found.run["bf16"] = "on" if bf16 else "off"
    with _stage(found, "load", device):
        family, teacher = load_frozen(path, config.run, device=device)
    found.family = family.name
    with _stage(found, "library picture, autoencoder", device):
        _encode_picture(family)
    with _stage(found, "teacher, one guided sampler step", device):
        _sample(config, family, teacher, bf16=bf16)
    with _stage(found, "library features", device):
        material = random_material(family, pairs=batch, entries=config.retrieval.references)
        parts = put_together(config, family, teacher, material, retrieves=True, bf16=bf16)
    _count(found, parts, teacher)
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(str(device))
        trainer = Trainer(config, parts, Path(folder), processes=processes, retrieves=True)
        with _stage(found, "optimisation step", device):
            found.metrics = trainer.train_step(0)
    return found


@contextmanager
def _stage(found: Footprint, name: str, device: torch.device) -> Iterator[None]:
    print(f"{name} ...", file=sys.stderr, flush=True)  # noqa: T201 - at full size it takes minutes
    memory = PeakMemory(device)
    before, started = memory.start(), time.perf_counter()
    with FlopCounterMode(display=False) as counter:
        yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    found.stages[name] = Stage(counter.get_total_flops(), seconds, before, memory.peak())


def _encode_picture(family: Family) -> None:
    from training.ladd.library import encode_pictures

    encode_pictures(family.vae, torch.zeros(1, 3, family.resolution, family.resolution))


def _sample(config: LaddConfig, family: Family, teacher: nn.Module, *, bf16: bool) -> None:
    from training.ladd.synthesize import synthesize_pairs
    from training.models.split_unet import latent_shape

    for _ in synthesize_pairs(
        teacher, family.text, family.scheduler, ["a cat"], [0], steps=1, batch=1, bf16=bf16,
        guidance_scale=config.pairs.guidance_scale, latent_shape=latent_shape(family.unet),
    ):  # fmt: skip
        pass


def _count(found: Footprint, parts: Parts, teacher: nn.Module) -> None:
    student, family = parts.student, parts.family
    trained, base = student.shares()
    adapter = sum(p.numel() for p in student.adapter.parameters()) if student.adapter is not None else 0
    heads = list(parts.heads.parameters())
    frozen: dict[str, nn.Module] = {
        "unet": student.unet,
        "teacher": teacher,
        "vae": family.vae,
        "text": family.text,
    }
    for name, module in frozen.items():
        weights = [p for p in module.parameters() if not p.requires_grad]
        found.parameters[name] = sum(p.numel() for p in weights)
        found.bytes[name] = sum(p.numel() * p.element_size() for p in weights)
    found.parameters |= {
        "adapter": adapter,
        "lora": trained - adapter,
        "heads": sum(p.numel() for p in heads),
    }
    # Weight, gradient, two moments, and of adapter and LoRA the running mean: float32 each.
    found.bytes["trained"] = 4 * (5 * trained + 4 * found.parameters["heads"])
    found.trained_share = trained / base


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
