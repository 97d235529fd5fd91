"""Trains the judge, and measures how often it is wrong.

Command::

    python -m training.evaluation.judge_training --config training/configs/emoji.toml \
        --out training/weights/emoji/judge.safetensors --vae training/weights/emoji/vae

Two cores: about 10 minutes for the default 3,000 steps. Stopped and started again, it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.data.render import Pixels, draw
from training.data.scene import Scene
from training.data.splits import scenes as scenes_of
from training.data.tifa import questions
from training.data.world import World
from training.evaluation.answers import answer
from training.evaluation.judge import ErrorRates, Judge
from training.evaluation.judge_faults import add_faults, reconstruct, through_vae
from training.evaluation.judge_network import STRIDE
from training.evaluation.judge_pictures import even_world, picture
from training.evaluation.judge_targets import Thing, judge_loss, make_targets
from training.evaluation.reading import Reading
from training.family.loop import train
from training.precision import autocast

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

BATCH = 32
LEARNING_RATE = 2e-3
RECONSTRUCTED_SHARE = 0.125
"""Share of each batch that goes through the family's autoencoder: it costs as much as the network itself."""
HELD_OUT = 512
"""Scenes of the validation split on which the judge's own errors are counted."""


def train_judge(
    world: World,
    out: Path,
    *,
    resolution: int,
    steps: int,
    vae_folder: Path | None = None,
    held_out: int = HELD_OUT,
) -> Judge:
    """Train a judge and write it, from where an earlier run stopped.

    Args:
        world: The family's concepts.
        out: The judge's file; ``<out>.resume`` beside it keeps the state between runs and goes when it is
            done.
        resolution: Side of the family's pictures in pixels, divisible by 8.
        steps: Optimiser steps of `BATCH` pictures, >= 1.
        vae_folder: The family's autoencoder in diffusers' layout; None trains without reconstructions.
        held_out: Scenes for counting its errors, >= 2.

    Returns:
        The judge, in eval mode, its errors counted.

    Raises:
        FileNotFoundError: `vae_folder` holds no autoencoder.
        FloatingPointError: The loss is not finite.
        KeyboardInterrupt: SIGINT or SIGTERM came; ``<out>.resume`` holds the state.
        OSError: The disk is full.
    """
    torch.manual_seed(world.seed)
    judge = Judge.untrained(world, resolution=resolution)
    vae = _load_vae(vae_folder)
    batches = _Batches(even_world(world), resolution, vae)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        pictures, things, grounds = batches.draw(step, generator)
        targets = make_targets(things, grounds, cells=resolution // STRIDE, concepts=len(world.names))
        with autocast():
            outputs = judge.network(pictures)
        return judge_loss(outputs, targets)

    resume = out.with_name(f"{out.name}.resume")
    trained = train(
        judge.network, loss_of, name="judge", steps=steps, learning_rate=LEARNING_RATE, decay_share=0.6,
        checkpoint=resume, ema=0.998,
    )  # fmt: skip
    judge.network.load_state_dict(trained.state_dict())
    judge.network.eval().requires_grad_(False)
    judge.errors = measure_errors(judge, scenes_of(world, "validation", held_out), vae=vae)
    judge.save(out)
    resume.unlink()
    return judge


def measure_errors(judge: Judge, scenes: Sequence[Scene], *, vae: AutoencoderKL | None = None) -> ErrorRates:
    """Count how often a judge is wrong about pictures of which everything is known.

    Args:
        judge: The reader.
        scenes: Scenes that it was not trained on, two or more.
        vae: The family's autoencoder, for the same pictures after encoding and decoding.

    Returns:
        Kind of pictures -> element type (and ``all``) -> share of the questions answered wrong. ``drawn`` are
        perfect pictures, ``reconstructed`` went through the autoencoder; ``other_picture`` asks about the
        picture of another scene: there the share must be high, or the judge says yes to anything.
    """
    pictures = np.stack([draw(scene, judge.resolution) for scene in scenes])
    drawn = judge.read(pictures)
    errors = {
        "drawn": _errors(drawn, scenes, judge.concepts),
        "other_picture": _errors(drawn[1:] + drawn[:1], scenes, judge.concepts),
    }
    if vae is not None:
        errors["reconstructed"] = _errors(judge.read(through_vae(vae, pictures)), scenes, judge.concepts)
    return errors


def format_errors(errors: ErrorRates) -> str:
    """A table of a judge's errors, in per cent, one line per kind of pictures."""
    kinds = sorted({kind for rates in errors.values() for kind in rates})
    lines = ["questions answered wrong, %".ljust(28) + "".join(f"{kind:>14}" for kind in kinds)]
    for name, rates in errors.items():
        lines.append(
            name.ljust(28) + "".join(f"{100 * rates.get(kind, float('nan')):14.1f}" for kind in kinds)
        )
    return "\n".join(lines)


class _Batches:
    """Draws the batch of a step; the same each time."""

    def __init__(self, world: World, resolution: int, vae: AutoencoderKL | None) -> None:
        self.world = world
        self.resolution = resolution
        self.vae = vae

    def draw(
        self, step: int, generator: torch.Generator
    ) -> tuple[Tensor, list[tuple[Thing, ...]], list[int]]:
        drawn = [picture(self.world, step * BATCH + i, resolution=self.resolution) for i in range(BATCH)]
        pixels = _to_tensor(np.stack([one.pixels for one in drawn]))
        through = round(BATCH * RECONSTRUCTED_SHARE) if self.vae is not None else 0
        faulty = add_faults(pixels[through:], generator)
        if self.vae is not None:
            with autocast():
                rebuilt = reconstruct(self.vae, pixels[:through], generator).float()
            faulty = torch.cat([rebuilt, faulty])
        return faulty, [one.things for one in drawn], [one.ground for one in drawn]


def _errors(readings: Sequence[Reading], scenes: Sequence[Scene], names: Sequence[str]) -> dict[str, float]:
    wrong: dict[str, list[bool]] = {"all": []}
    for reading, scene in zip(readings, scenes, strict=True):
        for question in questions(scene, names):
            is_wrong = answer(question.question, question.choices, reading) != question.answer
            wrong["all"].append(is_wrong)
            wrong.setdefault(question.element_type, []).append(is_wrong)
    return {kind: round(sum(values) / len(values), 4) for kind, values in wrong.items()}


def _to_tensor(pictures: Pixels) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _load_vae(folder: Path | None) -> AutoencoderKL | None:
    if folder is None:
        return None
    from diffusers import AutoencoderKL

    from training.family.folder import freeze

    vae: AutoencoderKL = freeze(AutoencoderKL, folder)
    return vae


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a judge for a family, measure its errors, and write both; returns the exit status."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.judge_training", description=main.__doc__
    )
    parser.add_argument(
        "--config", type=Path, default=Path("training/configs/emoji.toml"), help="the family's config"
    )
    parser.add_argument("--out", type=Path, required=True, help="the judge's safetensors file")
    parser.add_argument(
        "--vae", type=Path, help="the family's autoencoder; without it, faults are only imitated"
    )
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps of 32 pictures")
    parser.add_argument(
        "--new-concepts",
        action="store_true",
        help="a judge that also knows the concepts of training.evaluation.new_concepts",
    )
    options = parser.parse_args(arguments)
    from training.evaluation.new_concepts import judge_world
    from training.family.config import read_family_config

    try:
        config = read_family_config(options.config)
        judge = train_judge(
            judge_world(config.world) if options.new_concepts else config.world,
            options.out,
            resolution=config.resolution,
            steps=options.steps,
            vae_folder=options.vae,
        )
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)  # noqa: T201 - a command's output
        return 130
    print(format_errors(judge.errors))  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
