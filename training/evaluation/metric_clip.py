"""A CLIP for measuring alone: its own seed, its own scenes, every concept as often as any other.

The generator never saw it, and it shares no weight with the generator's text tower. CLIP scores and FID are taken with
it (`training.evaluation.fidelity`).

Command::

    python -m training.evaluation.metric_clip --config training/configs/emoji.toml \
        --out training/weights/emoji/metric_clip
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.evaluation.judge_pictures import even_world
from training.family.config import FamilyConfig
from training.family.scene_cache import cache_scenes
from training.family.shapes import clip_config
from training.family.text import in_batch_accuracy, train_text_tower
from training.family.text_tower import load_text_tower, save_text_tower

SEED = 7
SCENES = 20000
HELD_OUT = 1024
logger = logging.getLogger(__name__)


def train_metric_clip(
    config: FamilyConfig, out: Path, work: Path, *, steps: int, scenes: int = SCENES
) -> float:
    """Train it and write it in open_clip's local layout.

    Args:
        config: The family's: shapes and world.
        out: Its folder.
        work: Checkpoint and scenes; a run that was stopped goes on.
        steps: Optimiser steps.
        scenes: To train on.

    Returns:
        How often a caption finds its picture among 256 held-out ones, in [0, 1].
    """
    world = replace(even_world(config.world), seed=config.world.seed + SEED)
    own = replace(config, seed=SEED, world=world, text=replace(config.text, steps=steps))
    cached = cache_scenes(work / "scenes", world, "train", scenes, config.resolution)
    held_out = cache_scenes(work / "scenes", world, "validation", HELD_OUT, config.resolution)
    tower = train_text_tower(own, cached, held_out, work)
    save_text_tower(out, tower, clip_config(own.text, own.resolution))
    return in_batch_accuracy(load_text_tower(out), held_out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the CLIP that measures; returns the exit status."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.metric_clip", description=main.__doc__
    )
    parser.add_argument("--config", type=Path, required=True, help="the family's config")
    parser.add_argument("--out", type=Path, required=True, help="its folder")
    parser.add_argument("--work", type=Path, default=Path("runs/metric_clip"), help="checkpoint and scenes")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps")
    options = parser.parse_args(arguments)
    from training.family.config import read_family_config

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = read_family_config(options.config)
        accuracy = train_metric_clip(config, options.out, options.work, steps=options.steps)
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)  # noqa: T201 - a command's output
        return 130
    logger.info("finds its picture among 256: %.3f", accuracy)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
