"""From a trained adapter to a bundle: ``python -m export.onnx --ckpt adapter.safetensors``.

Run it as a module: as a script it would import itself in place of the onnx package.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Export, and print one line per graph and one for the chain.

    Args:
        arguments: The command line; None = the process's.

    Returns:
        0, or 2 if nothing was written (the reason is one line on stderr), or 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    # Late, so that --help is instant: torch, diffusers and open_clip take seconds.
    from export.errors import ExportError
    from ragturbo_runtime.errors import RagTurboError

    try:
        return _export(options)
    except (ExportError, RagTurboError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130


def _export(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from export.bundle_writer import write_bundle
    from export.models import load_models
    from export.picture_metadata import read_rows
    from export.pictures import folder_entries, generated_entries
    from export.room import check_room

    out = options.out or options.ckpt.parent / "bundle"
    if options.library not in (None, "none"):
        list(read_rows(Path(options.library)))  # what is wrong there is said before a minute of loading
    check_room(options.ckpt, options.base or options.ckpt.parent, out)
    models = load_models(options.ckpt, options.base)
    if options.library == "none":
        entries = []
    elif options.library is None:
        entries = generated_entries(models.family)
    else:
        entries = folder_entries(Path(options.library), models.family.resolution)
    write_bundle(models, out, entries, report=tqdm.write, flavour=options.flavour)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    tqdm.write(f"{out}: {size / 1e6:.1f} MB, {len(entries)} references")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.onnx", description="From a trained adapter to a bundle that draws."
    )
    parser.add_argument("--ckpt", type=Path, required=True, help="adapter.safetensors, from training.ladd")
    parser.add_argument(
        "--base", type=Path, help="folder of the base family (default: the folder that holds the checkpoint)"
    )
    parser.add_argument(
        "--out", type=Path, help="the bundle's folder (default: bundle/ beside the checkpoint)"
    )
    parser.add_argument(
        "--library",
        metavar="FOLDER",
        help="pictures with a metadata.csv or metadata.jsonl (file_name, text, source, licence), or 'none' "
        "(default: the family's own, as its family.json says)",
    )
    parser.add_argument("--flavour", choices=("portable",), default="portable", help="portable: any provider")
    return parser


if __name__ == "__main__":
    sys.exit(main())
