"""Measure a family: the table, docs/results.json, docs/results.md and sheets of pictures.

``python -m training.evaluation --family training/weights/emoji --out docs``; it resumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a trained family on its benchmark; returns the exit status."""
    from ragturbo_runtime.errors import RagTurboError
    from training.data.tifa import BENCHMARK_SCENES

    parser = argparse.ArgumentParser(prog="python -m training.evaluation", description=main.__doc__)
    parser.add_argument(
        "--family", type=Path, default=Path("training/weights/emoji"), help="the trained family's folder"
    )
    parser.add_argument(
        "--bundle", default="ragturbo_sdk/bundles/emoji", help="its exported bundle, or none: torch"
    )
    parser.add_argument(
        "--judge", type=Path, help="the judge; default: judge.safetensors in the family's folder"
    )
    parser.add_argument(
        "--metric-clip", type=Path, help="the CLIP that measures; default: metric_clip in the family's folder"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs"), help="folder for results.json and results.md"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/evaluation"), help="folder of kept pictures")
    parser.add_argument("--count", type=int, default=BENCHMARK_SCENES, help="captions of the benchmark")
    parser.add_argument("--rows", nargs="+", help="only these rows, printed and not written; default: all")
    parser.add_argument(
        "--merge",
        action="store_true",
        help="write the --rows into the results that are there: see docs/train.md",
    )
    parser.add_argument(
        "--times", action="store_true", help="only time the rows anew, in the results that are there"
    )
    options = parser.parse_args(arguments)
    if options.times and options.rows:
        print(
            "error: --times times all rows, or they could not be compared; leave out --rows", file=sys.stderr
        )
        return 2
    if options.count < 1:
        print(f"error: --count {options.count}; give 1 or more", file=sys.stderr)
        return 2
    if options.merge and not options.rows:
        print("error: --merge puts rows into the results; name them with --rows", file=sys.stderr)
        return 2
    from training.evaluation.run import evaluate
    from training.evaluation.session import Settings

    settings = Settings(
        family=options.family,
        bundle=None if options.bundle == "none" else Path(options.bundle),
        judge=options.judge or options.family / "judge.safetensors",
        metric_clip=options.metric_clip or options.family / "metric_clip",
        out=options.out,
        cache=options.cache,
        count=options.count,
        rows=tuple(options.rows or ()),
        merges=options.merge,
        times=options.times,
    )
    try:
        print(evaluate(settings))
    except (RagTurboError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
