"""python -m training.ladd.footprint: what one step of a run takes here: memory, FLOPs, seconds.

It loads a family as a run does, makes random pairs in memory, and takes one whole optimisation step, of student and
discriminator, by the trainer itself. FLOPs count a multiply and an add as two, forward, backward and what gradient
checkpointing computes again; they are the same on every device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.atomic import save_atomically
from training.ladd.config import LaddConfig, parse_ladd_config, read_ladd_config
from training.ladd.peak_memory import PeakMemory
from training.ladd.random_material import for_measuring, random_material

if TYPE_CHECKING:
    from training.family.folder import Family
    from training.ladd.setup import Parts

GIB = 2**30
DEFAULT_BATCH = 2


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


def measure(config: LaddConfig, path: Path, *, device: torch.device, batch: int) -> Footprint:
    """Load a family and take one step.

    Args:
        config: The run's config; its pairs, its data and its shares of dropped, wrong and masked prompts do not count.
        path: The family's folder.
        device: Where the networks go.
        batch: Pairs a step, 2 or more.

    Raises:
        FileNotFoundError: The family lacks a part.
        ValueError: Config and family do not fit.
        NonFiniteLossError: A loss or gradient is not finite.
    """
    from training.ladd.frozen import load_frozen
    from training.ladd.setup import put_together, resolve_bf16
    from training.ladd.trainer import Trainer
    from training.parallel import Processes

    config = for_measuring(config, batch)
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

    unet = family.unet.config
    side = int(unet.sample_size)
    for _ in synthesize_pairs(
        teacher, family.text, family.scheduler, ["a cat"], [0], steps=1, batch=1, bf16=bf16,
        guidance_scale=config.pairs.guidance_scale, latent_shape=(int(unet.in_channels), side, side),
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


def default_config(path: Path) -> LaddConfig:
    """A config as for SD-Turbo, with as many attention heads as the family's bottleneck has."""
    from training.family.folder import read_json

    unet = read_json(path / "unet" / "config.json")
    heads = unet["attention_head_dim"]
    table = {"attention_heads": heads[-1] if isinstance(heads, list) else heads}
    run = {"frozen_dtype": "bfloat16", "gradient_checkpointing": True}
    document: dict[str, object] = {"family": str(path), "work_dir": "", "student": table, "run": run}
    return parse_ladd_config(document, "the built-in config")


def report(found: Footprint) -> str:
    """Say it as text."""
    trained = found.parameters["adapter"] + found.parameters["lora"]
    lines = [
        f"{found.family} on {found.device}: batch {found.batch}, {found.references} references, frozen weights "
        f"{found.run['frozen_dtype']}, gradient checkpointing {'on' if found.run['gradient_checkpointing'] else 'off'}",
        f"trained: {trained:,} parameters, {100 * found.trained_share:.2f} % of the U-Net's "
        f"{found.parameters['unet']:,}",
        *(f"  {name:<10}{count:>14,} parameters" for name, count in found.parameters.items()),
        *(f"  {name:<10}{count / GIB:>14.2f} GiB" for name, count in found.bytes.items()),
        f"{'stage':<34}{'TFLOP':>9}{'seconds':>9}{'GiB before':>12}{'GiB peak':>10}",
    ]
    for name, stage in found.stages.items():
        lines.append(
            f"{name:<34}{stage.flops / 1e12:>9.3f}{stage.seconds:>9.1f}{stage.before_bytes / GIB:>12.2f}"
            f"{stage.peak_bytes / GIB:>10.2f}"
        )
    per_pair = found.stages["optimisation step"].flops / found.batch
    lines.append(f"an optimisation step takes {per_pair / 1e12:.3f} TFLOP a pair")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0, or 2 where the input cannot be used, or 3 where the step gave no finite number.
    """
    parser = argparse.ArgumentParser(prog="python -m training.ladd.footprint", description=__doc__)
    parser.add_argument("--family", type=Path, required=True, help="folder of the base family")
    parser.add_argument("--config", type=Path, help="a run's TOML file (default: bfloat16 and checkpointing)")
    parser.add_argument(
        "--batch", type=int, help=f"pairs a step, 2 or more (default: the config's, or {DEFAULT_BATCH})"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:i]")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    options = parser.parse_args(arguments)
    from training.ladd.errors import NonFiniteLossError

    try:
        found = _measure_as_asked(options)
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 3
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(report(found))  # noqa: T201
    return 0


def _measure_as_asked(options: argparse.Namespace) -> Footprint:
    config = read_ladd_config(options.config) if options.config else default_config(options.family)
    batch = options.batch or (config.optimiser.batch if options.config else DEFAULT_BATCH)
    if batch < 2:
        raise ValueError(
            f"--batch is {batch}; it must be 2 or more (the misaligned prompts come from the same batch)"
        )
    if options.no_checkpointing:
        config = replace(config, run=replace(config.run, gradient_checkpointing=False))
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"--device is {options.device}, but torch sees no CUDA device here; use --device cpu"
        )
    found = measure(config, options.family, device=device, batch=batch)
    if options.json:
        text = json.dumps(asdict(found), indent=2) + "\n"
        save_atomically(options.json, lambda beside: beside.write_text(text, encoding="utf-8"))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
