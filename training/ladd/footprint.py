"""python -m training.ladd.footprint: what one step of a run takes here: memory, FLOPs, seconds.

It loads a family as a run does, makes random pairs in memory, and takes one whole optimisation step, of student and
discriminator, by the trainer itself. With --dry no weight is read and nothing is computed: memory and FLOPs come from
the shapes, so any batch can be asked for on any machine. FLOPs count a multiply and an add as two: forward, backward
and what gradient checkpointing computes again; they are the same on every device.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.atomic import save_atomically
from training.ladd.config import LaddConfig
from training.ladd.config_file import parse_ladd_config, read_ladd_config
from training.ladd.random_material import for_measuring

if TYPE_CHECKING:
    from training.ladd.dry_run import DryStep
    from training.ladd.measure_step import Footprint

GIB = 2**30
DEFAULT_BATCH = 2


def default_config(path: Path) -> LaddConfig:
    """A config as for SD-Turbo, with as many attention heads as the family's bottleneck has."""
    from training.family.folder import read_json, read_settings

    read_settings(path)  # says what is missing where there is no family at all
    unet = read_json(path / "unet" / "config.json")
    heads = unet["attention_head_dim"]
    table = {"attention_heads": heads[-1] if isinstance(heads, list) else heads}
    run = {"frozen_dtype": "bfloat16", "gradient_checkpointing": True}
    document: dict[str, object] = {"family": str(path), "work_dir": "", "student": table, "run": run}
    return parse_ladd_config(document, "the built-in config")


def report(found: Footprint) -> str:
    """Say what a real step took."""
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


def dry_report(config: LaddConfig, found: DryStep) -> str:
    """Say what a step would take."""
    batch, run = config.optimiser.batch, config.run
    switch = "on" if run.gradient_checkpointing else "off"
    return "\n".join(
        [
            f"batch {batch}, frozen weights {run.frozen_dtype}, gradient checkpointing {switch}; by the shapes alone, "
            "without the workspaces of kernels",
            f"  {'weights':<28}{found.weights_bytes / GIB:>8.2f} GiB",
            f"  {'and gradients, AdamW states':<28}{found.resident_bytes / GIB:>8.2f} GiB",
            f"  {'peak of a step':<28}{found.peak_bytes / GIB:>8.2f} GiB",
            f"an optimisation step takes {found.flops / batch / 1e12:.3f} TFLOP a pair",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0, or 2 where the input cannot be used, or 3 where the step gave no finite number.
    """
    options = _parse(arguments)
    from training.ladd.errors import NonFiniteLossError

    try:
        config = _config_of(options)
        text, document = _dry(config, options) if options.dry else _real(config, options)
        if options.json:
            content = json.dumps(document, indent=2) + "\n"
            save_atomically(options.json, lambda beside: beside.write_text(content, encoding="utf-8"))
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 3
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(text)  # noqa: T201
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.ladd.footprint", description=__doc__)
    parser.add_argument("--family", type=Path, required=True, help="folder of the base family")
    parser.add_argument("--config", type=Path, help="a run's TOML file (default: bfloat16 and checkpointing)")
    parser.add_argument("--batch", type=int, help="pairs a step, 2 or more (default: the config's, else 2)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:i]")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--dry", action="store_true", help="from the shapes alone; configs are enough")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args(arguments)


def _config_of(options: argparse.Namespace) -> LaddConfig:
    config = read_ladd_config(options.config) if options.config else default_config(options.family)
    batch = options.batch or (config.optimiser.batch if options.config else DEFAULT_BATCH)
    if batch < 2:
        raise ValueError(
            f"--batch is {batch}; it must be 2 or more (the misaligned prompts come from the same batch)"
        )
    if options.no_checkpointing:
        config = replace(config, run=replace(config.run, gradient_checkpointing=False))
    return for_measuring(config, batch)


def _real(config: LaddConfig, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from training.ladd.measure_step import measure

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"--device is {options.device}, but torch sees no CUDA device here; use --device cpu, or --dry"
        )
    found = measure(config, options.family, device=device)
    return report(found), asdict(found)


def _dry(config: LaddConfig, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from training.ladd.dry_run import dry_step

    found = dry_step(config, options.family)
    return dry_report(config, found), {
        "batch": config.optimiser.batch,
        "run": asdict(config.run),
        **asdict(found),
    }


if __name__ == "__main__":
    raise SystemExit(main())
