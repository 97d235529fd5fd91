"""Trains a family from its config, stage by stage: ``python -m training.family --config FILE``.

Every stage writes its part of the family's folder when it is done and is skipped from then on; a stage that was stopped
goes on from its last checkpoint. Sample grids lie in the work folder, one per stage and a few thousand steps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

STAGES = ("vae", "text", "teacher", "student")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Of the command line; None = the process's own.

    Returns:
        Exit status: 0, or 2 where the input cannot be used or training diverged, or 130 where it was stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m training.family", description=__doc__)
    parser.add_argument("--config", type=Path, help="the family's TOML file")
    parser.add_argument(
        "--random",
        metavar="SIZE",
        choices=("nano", "sd-turbo", "sd-turbo-small"),
        help="write a folder of random weights instead: nano, sd-turbo (exact shapes, 2.6 GB) or sd-turbo-small",
    )
    parser.add_argument("--out", type=Path, help="the family's folder; default training/weights/NAME")
    parser.add_argument("--work", type=Path, help="checkpoints, caches, grids; default runs/NAME")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="stop after this stage")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if (options.config is None) == (options.random is None):
        raise ValueError("give either --config FILE or --random SIZE")
    if options.random is not None:
        from training.family.random_family import random_family

        if options.out is None:
            raise ValueError("--random needs --out DIR")
        print(random_family(options.out, size=options.random))
        return
    import logging

    from training.family.config import read_family_config

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_family_config(options.config)
    out = options.out or Path("training/weights") / config.name
    work = options.work or Path("runs") / config.name
    if work.resolve() == out.resolve():
        raise ValueError(
            f"{out} is the family's folder and the work folder, whose checkpoints and caches may be deleted; "
            f"give another one: --work {out}-work"
        )
    from training.family.stages import train_family  # torch, 10 s: what is wrong is said before

    train_family(config, out, work, until=options.until)


if __name__ == "__main__":
    sys.exit(main())
