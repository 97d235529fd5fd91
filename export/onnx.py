"""From a trained adapter, or a base alone, to a bundle: ``python -m export.onnx --ckpt adapter.safetensors``.

Run it as a module: as a script it would import itself in place of the onnx package.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.models import Models
    from ragturbo_runtime.collection.entry import Entry


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
    _check(options)
    from tqdm import tqdm

    from export.bundle_writer import write_bundle
    from export.pictures import generated_entries
    from export.pipeline_writer import write_pipeline
    from export.room import check_room

    base = options.base or options.ckpt.parent
    home = base if options.ckpt is None else options.ckpt.parent
    out = options.out or home / options.layout
    collected = _collected(options)  # what is wrong there is said before a minute of loading
    check_room(options.ckpt, base, out)
    models = _load(options)
    if options.layout == "optimum":
        write_pipeline(models, out, report=tqdm.write)
        made = "a pipeline without retrieval"
    else:
        entries = collected if collected is not None else generated_entries(models.family)
        write_bundle(models, out, entries, report=tqdm.write, flavour=options.flavour)
        made = f"{len(entries)} references"
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    tqdm.write(f"{out}: {size / 1e6:.1f} MB, {made}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, before anything is loaded."""
    from export.errors import ExportError

    slerp, plain = options.mode == "slerp", options.layout == "optimum"
    if slerp and options.ckpt is not None:
        raise ExportError("--mode slerp injects references without an adapter; leave --ckpt out")
    if slerp and plain:
        raise ExportError("--layout optimum writes no retrieval; leave --mode slerp out")
    if plain and options.library not in (None, "none"):
        raise ExportError("--layout optimum writes no library; leave --library out")
    if not slerp and options.slerp_share is not None:
        raise ExportError("--slerp-share is for --mode slerp alone; add that, or leave it out")
    if options.ckpt is None and not slerp and not plain:
        raise ExportError(
            "give --ckpt adapter.safetensors, or --mode slerp --base FAMILY for retrieval without one"
        )
    if options.ckpt is None and options.base is None:
        raise ExportError("without --ckpt nothing says which base to export; give its folder with --base")


def _load(options: argparse.Namespace) -> Models:
    from export.models import load_base, load_models
    from training.models.slerp import DEFAULT_SHARE

    if options.ckpt is not None:
        models = load_models(options.ckpt, options.base, vae=options.vae)
    else:
        share = DEFAULT_SHARE if options.slerp_share is None else options.slerp_share
        models = load_base(options.base, slerp_share=share, vae=options.vae)
    return dataclasses.replace(
        models, feature_codec=options.feature_codec, image_encoder=options.image_encoder
    )


def _collected(options: argparse.Namespace) -> list[Entry] | None:
    """Return the pictures that --library names; None means the family's own."""
    from export.pictures import collected_entries

    if options.library == "none":
        return []
    return None if options.library is None else collected_entries(Path(options.library))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.onnx",
        description="From a trained adapter, or a base alone, to a bundle that draws.",
    )
    parser.add_argument("--ckpt", type=Path, help="adapter.safetensors, from training.ladd")
    parser.add_argument(
        "--base", type=Path, help="folder of the base family (default: the folder that holds the checkpoint)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="what to write (default: bundle/ or optimum/ beside the checkpoint or in the base)",
    )
    parser.add_argument(
        "--mode",
        choices=("adapter", "slerp"),
        default="adapter",
        help="adapter: as --ckpt was trained to use references; slerp: mix them in without any training",
    )
    parser.add_argument(
        "--slerp-share",
        type=float,
        metavar="SHARE",
        help="with --mode slerp: share of the references at strength 1 and lambda 1, up to 1 (default: 0.2)",
    )
    parser.add_argument(
        "--vae",
        type=Path,
        metavar="PATH",
        help="a tiny autoencoder that decodes in the VAE's place: a folder of diffusers' AutoencoderTiny, or "
        "taesd_decoder.safetensors",
    )
    parser.add_argument(
        "--layout",
        choices=("bundle", "optimum"),
        default="bundle",
        help="bundle: for ragturbo-sdk; optimum: a plain pipeline for optimum-onnx's ORTDiffusionPipeline",
    )
    parser.add_argument(
        "--library",
        metavar="PATH",
        help="pictures with a metadata.csv or metadata.jsonl (file_name, text, source, licence), webdataset shards "
        "(.tar), or 'none' (default: the family's own, as its family.json says)",
    )
    parser.add_argument(
        "--feature-codec",
        choices=("int8", "float16"),
        default="int8",
        help="how the library keeps features, and the adapter reads them: docs/codecs.md (default: int8)",
    )
    parser.add_argument(
        "--image-encoder",
        action="store_true",
        help="export the image tower too: a library can then be searched by picture",
    )
    parser.add_argument(
        "--flavour",
        # Those of export.flavours, which takes seconds to import.
        choices=("portable", "cpu-int8", "cuda-fp16"),
        default="portable",
        help="portable: any provider; cpu-int8: weights in a quarter of the room, for CPUs; "
        "cuda-fp16: fused and in half precision, for CUDA alone",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
