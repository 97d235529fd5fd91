"""How search grows with a library: ``python -m export.library_plots --out docs``.

Writes library.json, library/size.svg and library/recall.svg into the folder, for docs/library.md. Takes ten minutes
on two cores, 3 GB of disk and 6 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from export.library_scaling.measuring import Plan

NUMBERS, PLOTS = "library.json", "library"
SIZES, MODELLED = (10_000, 100_000, 630_000), 6_300_000


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, draw.

    Args:
        arguments: The command line; None = the process's.

    Returns:
        0, or 2 if nothing was written (the reason is one line on stderr), or 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    from ragturbo_runtime.errors import RagTurboError

    try:
        _publish(options.out, _measure(options))
    except (RagTurboError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.library_plots", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of library.json and library/*.svg")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="keys of each library, rising")
    parser.add_argument(
        "--model", type=int, default=MODELLED, help="keys of the library that is not measured"
    )
    parser.add_argument("--dim", type=int, default=1024, help="width of the keys (default: 1024)")
    parser.add_argument("--seed", type=int, default=0, help="makes the keys (default: 0)")
    parser.add_argument("--queries", type=int, default=1000, help="searches of each library (default: 1000)")
    parser.add_argument("--work", type=Path, help="folder with room for the largest library")
    return parser


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from export.benchmark.device import find_device, usable_cores
    from export.library_scaling.measuring import measure_sizes
    from export.library_scaling.model import extrapolate

    plan = _plan(options)
    sizes, sweeps = measure_sizes(plan, options.work, _say)
    return {
        "device": find_device("cpu").label(usable_cores()),
        "dim": plan.dim,
        "seed": plan.seed,
        "queries": plan.queries,
        "sizes": sizes,
        "sweeps": sweeps,
        "model": extrapolate(options.model, sizes, sweeps),
    }


def _plan(options: argparse.Namespace) -> Plan:
    from ragturbo_runtime.index.cache import EXACT_BELOW

    sizes = tuple(options.sizes)
    if list(sizes) != sorted(set(sizes)) or sizes[0] < 100 or len(sizes) < 2 or sizes[-2] < EXACT_BELOW:
        raise ValueError(
            f"--sizes {' '.join(map(str, sizes))}: expected rising numbers, the first one 100 or more, "
            f"the last two {EXACT_BELOW} or more"
        )
    if options.dim < 2 or options.seed < 0 or options.queries < 1 or options.model < sizes[-1]:
        raise ValueError(
            "--dim is 2 or more, --seed 0 or more, --queries 1 or more, --model the last size or more"
        )
    return Plan(sizes, options.dim, options.seed, options.queries)


def _publish(out: Path, document: dict[str, Any]) -> None:
    from export.library_scaling.plots import RECALL, SIZES, draw_recall, draw_sizes
    from ragturbo_runtime.files import write_bytes

    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(out / NUMBERS, text.encode())
    draw_sizes(out / PLOTS / SIZES, document["sizes"], document["model"])
    draw_recall(out / PLOTS / RECALL, document["sweeps"][-1], document["sizes"][-1])


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    sys.exit(main())
