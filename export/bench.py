"""Our chain beside diffusers and optimum, on one machine in one run.

``python -m export.bench --bundle DIR --base FAMILY`` prints a table, and writes performance.json, its plot and
performance.md into ``--out``; what was measured there on other devices and of other families stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write.

    Args:
        arguments: The command line; None = the process's.

    Returns:
        0, or 2 if nothing was written (the reason is one line on stderr), or 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    from export.benchmark.errors import BenchError, RowError
    from ragturbo_runtime.errors import RagTurboError

    try:
        return _bench(options)
    except (BenchError, RowError, RagTurboError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130


def _bench(options: argparse.Namespace) -> int:
    from export.benchmark.device import find_device, usable_cores
    from export.benchmark.document import NUMBERS, merged, read_document, write_document
    from export.benchmark.errors import BenchError
    from export.benchmark.inputs import check_inputs
    from export.benchmark.page import publish
    from export.benchmark.run import Plan, run

    if options.rounds < 1 or options.seeds < 0 or (options.threads or 1) < 1:
        raise BenchError("--rounds and --threads are 1 or more, --seeds 0 or more")
    device = find_device(options.device)
    path = options.out / NUMBERS
    document = read_document(path)  # a damaged one is said before an hour of measuring
    inputs = check_inputs(options.bundle, options.base, options.ckpt, device)
    threads = options.threads or usable_cores()
    plan = Plan(
        device, options.rounds, threads, options.optimum, options.skip, options.together, options.seeds
    )
    entry = run(inputs, plan, _say)
    label, family = device.label(threads), inputs.key
    _print(label, family, entry)
    document = merged(document, label, family, entry)
    write_document(path, document)
    publish(document, options.out)
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _print(device: str, family: str, entry: Mapping[str, Any]) -> None:
    from export.benchmark.table import graphs_table, rows_table, sentences

    lines = [f"{family} on {device}", *rows_table(entry), "", *graphs_table(entry), "", *sentences(entry)]
    sys.stdout.write("\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    from export.benchmark.job import BASELINES

    parser = argparse.ArgumentParser(
        prog="python -m export.bench",
        description="Our chain beside diffusers (eager, compiled) and optimum: latency, memory, load time, floor.",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle with a library")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base that it was made from")
    parser.add_argument(
        "--ckpt", type=Path, help="adapter that it was made from (default: adapter.safetensors in the base)"
    )
    parser.add_argument(
        "--optimum",
        type=Path,
        metavar="DIR",
        help="what --layout optimum wrote (default: written for this run)",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:1")
    parser.add_argument("--rounds", type=int, default=20, help="pictures per row (default: 20)")
    parser.add_argument("--threads", type=int, help="of every row on the CPU (default: physical cores)")
    parser.add_argument(
        "--together",
        type=int,
        metavar="N",
        help="processes alive at once (default: as many as fit into memory)",
    )
    parser.add_argument("--skip", nargs="+", choices=BASELINES, default=[], help="rows to leave out")
    parser.add_argument(
        "--seeds",
        type=int,
        default=0,
        help="draw so many seeds too, and count NaN and black pictures (default: 0)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs"), help="folder of performance.json and .md (default: docs)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
