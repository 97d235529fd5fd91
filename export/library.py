"""Builds the library of a large collection, on this machine or on a Ray cluster.

``python -m export.library PICTURES --bundle B --out L --engine ray --workers 16``; ``ragturbo library build`` does the
same on one machine, and needs nothing but the wheel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragturbo_runtime.bundle import Bundle
    from ragturbo_runtime.indexing.building import BuildReport
    from ragturbo_runtime.indexing.engine import Engine


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a library; returns the exit status."""
    from ragturbo_runtime.errors import RagTurboError

    options = _parser().parse_args(arguments)
    try:
        report = _build(options)
    except RagTurboError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    lines = [
        f"{options.out}: {report.added} added, {report.known} known before, {len(report.skipped)} skipped",
        *(f"  {one.name}: {one.reason}" for one in report.skipped),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _build(options: argparse.Namespace) -> BuildReport:
    from tqdm import tqdm

    from ragturbo_runtime.bundle import Bundle
    from ragturbo_runtime.collection.opening import open_collection
    from ragturbo_runtime.indexing.building import build_library

    # Resolved: the processes of a cluster work in folders of their own.
    collection = open_collection(options.pictures.resolve())
    bundle = Bundle.load(options.bundle)
    with (
        _engine(options, bundle) as engine,
        tqdm(total=len(collection), desc="library", unit="picture") as bar,
    ):
        return build_library(
            bundle,
            collection,
            options.out,
            engine,
            progress=lambda so_far: bar.update(so_far.done - bar.n),
        )


@contextmanager
def _engine(options: argparse.Namespace, bundle: Bundle) -> Iterator[Engine]:
    if options.engine == "local":
        from ragturbo_runtime.indexing.engine import LocalEngine
        from ragturbo_runtime.indexing.opening import open_encoder

        encoder = open_encoder(bundle, device=options.device)
        yield LocalEngine(encoder, bundle.manifest.picture_height)
        return
    import ray

    from export.ray_engine import RayEngine

    ray.init(address=options.address, log_to_driver=False, include_dashboard=False)
    try:
        yield RayEngine(bundle, workers=options.workers, device=options.device, threads=options.threads)
    finally:
        ray.shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.library",
        description="Build the library of a large collection, here or on a Ray cluster.",
    )
    parser.add_argument("pictures", type=Path, help="a folder with metadata, or webdataset shards")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle whose encoders are used")
    parser.add_argument(
        "--out", type=Path, required=True, help="the library's folder; a stopped build goes on"
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (default: %(default)s)")
    parser.add_argument("--workers", type=_positive, default=2, help="of Ray (default: %(default)s)")
    parser.add_argument(
        "--threads", type=_positive, default=1, help="of each of Ray's workers (default: %(default)s)"
    )
    parser.add_argument(
        "--address", help="of a running Ray cluster, or auto; default: one on this machine, for this run"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of 1 or more")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
