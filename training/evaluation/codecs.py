"""``python -m training.evaluation.codecs``: what each way to store features costs, in bytes and in quality.

The scores are those that results.json holds of the rows that were drawn with each; what is measured here is how far
Delta_h moves from that of unrounded features.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.evaluation.artists import Artists
from training.evaluation.publish import RESULTS, read_results
from training.evaluation.references import read_features
from training.evaluation.results import write_json, write_text
from training.ladd.diffusion import Diffusion
from training.ladd.library import Codec
from training.ladd.pairs import noise_of_seeds
from training.ladd.product_codes import PIECE
from training.models.adapter import fuse
from training.models.split_unet import encode, latent_shape

CODECS_PAGE, CODECS_DATA = "codecs.md", "codecs.json"
SD_TURBO_TOKENS, SD_TURBO_CHANNELS, PAPER_LIBRARY = 64, 1280, 630_000
_BATCH = 32


@dataclass(frozen=True)
class Stored:
    """One way to store features."""

    name: str
    codec: Codec
    bits: float
    """Of a value."""
    pooled: bool
    row: str | None
    """Of results.json: drawn with it."""


ALL = (
    Stored("float16, every cell", "float16", 16, False, None),
    Stored("int8, every cell", "int8", 8, False, "adapter_unpooled_1"),
    Stored("float16, pooled", "float16", 16, True, "adapter_float16_1"),
    Stored("int8, pooled (default)", "int8", 8, True, "adapter_1"),
    Stored("product codes, pooled", "product", 8 / PIECE, True, "adapter_product_1"),
)


def measure_codecs(artists: Artists, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure every way.

    Args:
        artists: Of the family, with the prompts.
        results: What results.json holds.

    Returns:
        A row each: name, bytes a reference here and at SD-Turbo's width, gigabytes of the paper's library, relative
        error of Delta_h, TIFA.
    """
    exact = torch.cat(list(_added(artists, "float32", pooled=True)))
    rows = []
    for stored in ALL:
        added = torch.cat(list(_added(artists, stored.codec, pooled=stored.pooled)))
        error = float((added - exact).norm() / exact.norm())
        rows.append(_row(artists, stored, error, {**results["rows"], **results["controls"]}))
    return rows


def _added(artists: Artists, codec: Codec, *, pooled: bool) -> Iterator[Tensor]:
    """Delta_h of the prompts, (B, C, hh, hw) at a time."""
    family, adapter = artists.family, artists.adapter.build_adapter()
    features = artists.features(pool=None if pooled else 1, codec=codec)
    found, diffusion = artists.references(artists.count), Diffusion(family.scheduler)
    for start in range(0, len(artists.prompts), _BATCH):
        indices = list(range(start, min(start + _BATCH, len(artists.prompts))))
        weights = torch.from_numpy(found.weights[indices])
        with torch.inference_mode():
            noise = noise_of_seeds(artists.seeds(indices), latent_shape(family.unet))
            timesteps = torch.full((len(indices),), diffusion.last_timestep)
            embeds, _ = family.text.encode(artists.texts(indices))
            h, _ = encode(family.unet, diffusion.initial_sample(noise), timesteps, embeds)
            references = read_features(features, found.rows[indices])
            yield fuse(h, adapter(h, references, weights), weights) - h


def _row(artists: Artists, stored: Stored, error: float, scored: dict[str, Any]) -> dict[str, Any]:
    pool = artists.adapter.metadata.reference_pool if stored.pooled else 1
    whole = artists.adapter.metadata.tokens * artists.adapter.metadata.reference_pool**2
    here = whole / pool**2 * artists.adapter.metadata.channels * stored.bits / 8
    there = SD_TURBO_TOKENS / pool**2 * SD_TURBO_CHANNELS * stored.bits / 8
    score = scored.get(stored.row or "", {}).get("tifa")
    return {
        "name": stored.name,
        "bytes": round(here),
        "bytes_sd_turbo": round(there),
        "gigabytes_paper": round(there * PAPER_LIBRARY / 1e9, 1),
        "delta_h_error": round(error, 4),
        "tifa": score,
    }


def write_page(rows: Sequence[dict[str, Any]], prompts: int, out: Path) -> None:
    """Write codecs.json and codecs.md."""
    write_json(out / CODECS_DATA, {"prompts": prompts, "rows": list(rows)})
    lines = [
        "# How features are stored",
        "",
        "Written by `python -m training.evaluation.codecs`, never by hand; the numbers are also in",
        "[codecs.json](codecs.json).",
        f"Error: of Δh against that of unrounded pooled features, over {prompts} prompts of the benchmark. TIFA: from",
        "[results.md](results.md), mean [low, high]; the adapter was trained with int8, pooled.",
        "Bytes of one reference, here and at SD-Turbo's width, and gigabytes of the paper's",
        f"{PAPER_LIBRARY:,} references there.",
        "",
        "| features | bytes | bytes, SD-Turbo | GB, paper's library | error of Δh | TIFA |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        tifa = "-" if row["tifa"] is None else "{:.3f} [{:.3f}, {:.3f}]".format(*row["tifa"])
        lines.append(
            f"| {row['name']} | {row['bytes']:,} | {row['bytes_sd_turbo']:,} | {row['gigabytes_paper']} "
            f"| {row['delta_h_error']:.4f} | {tifa} |"
        )
    write_text(out / CODECS_PAGE, "\n".join(lines) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure how features may be stored; returns the exit status."""
    from training.data.splits import scenes
    from training.family.folder import read_settings, world_of

    parser = argparse.ArgumentParser(prog="python -m training.evaluation.codecs", description=main.__doc__)
    parser.add_argument(
        "--family", type=Path, default=Path("training/weights/emoji"), help="a trained family"
    )
    parser.add_argument("--prompts", type=int, default=512, help="captions of the benchmark to add to")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where results.json is")
    options = parser.parse_args(arguments)
    try:
        if options.prompts < 1:
            raise ValueError(f"--prompts {options.prompts}; give 1 or more")
        results = read_results(options.out / RESULTS)
        world = world_of(read_settings(options.family), options.family)
        prompts = tuple(scene.caption for scene in scenes(world, "benchmark", options.prompts))
        rows = measure_codecs(Artists(options.family, prompts), results)
        write_page(rows, len(prompts), options.out)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped: nothing was written\n")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
