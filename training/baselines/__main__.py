"""Trains what the paper compares itself with: ``python -m training.baselines --family DIR --config FILE``.

Writes ``lcm/`` and ``rdm/`` into the family's folder; what is there is kept. A run that was stopped goes on from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Of the command line; None = the process's own.

    Returns:
        Exit status: 0, or 2 where the input cannot be used or training diverged, or 130 where it was stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m training.baselines", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the baselines' TOML file")
    parser.add_argument("--family", type=Path, required=True, help="the family's folder")
    parser.add_argument("--work", type=Path, default=Path("runs/baselines"), help="checkpoints and grids")
    parser.add_argument("--only", choices=("lcm", "rdm"), help="train this one alone")
    options = parser.parse_args(arguments)
    try:
        from training.baselines.config import read_baselines_config

        config = read_baselines_config(options.config)  # before torch is imported, which takes 10 s
        from training.baselines.stages import BaselinesRun

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        run = BaselinesRun(config, options.family, options.work)
        for name in (options.only,) if options.only else ("lcm", "rdm"):
            run.train(name)
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
