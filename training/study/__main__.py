"""Measures what single choices do to the reading of references: ``docs/study.json`` and ``docs/study.md``.

``python -m training.study --family training/weights/emoji --config training/configs/study_emoji.toml --out docs``; it
goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Study a family's choices; returns the exit status: 0, or 2 where the input cannot be used, or 130 if stopped."""
    parser = argparse.ArgumentParser(prog="python -m training.study", description=main.__doc__)
    parser.add_argument(
        "--family", type=Path, default=Path("training/weights/emoji"), help="the trained family's folder"
    )
    parser.add_argument("--config", type=Path, required=True, help="the study's TOML file")
    parser.add_argument(
        "--judge", type=Path, help="the judge; default: judge.safetensors in the family's folder"
    )
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for study.json and study.md")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from ragturbo_runtime.errors import RagTurboError
    from training.ladd.errors import NonFiniteLossError
    from training.study.config import read_study_config

    try:
        config = read_study_config(options.config)  # before torch is imported, which takes 10 s
        from training.study.run import Study

        study = Study(config, options.family, options.judge or options.family / "judge.safetensors")
        document = study.run(options.out)
    except (RagTurboError, NonFiniteLossError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    print("\n".join(one["verdict"] for one in document["questions"].values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
