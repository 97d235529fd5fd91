"""Lets a family's teacher draw pairs for any list of prompts: ``python -m training.synthesize --family DIR ...``.

Prompt i is line i of the file, from the top again when it ends, and starts from the noise of seed ``first_seed + i``;
the sampler (DPM-Solver++ 2M) is deterministic. So a run that was stopped goes on, and the same command makes the same
pairs anywhere. The shards are WebDataset tars (`training.ladd.pairs`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from training.data.prompt_file import read_prompts
from training.recipe import digest_of

SHARD = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Of the command line; None = the process's own.

    Returns:
        Exit status: 0, or 2 where the input cannot be used, or 130 where it was stopped.
    """
    options = _parse(arguments)
    try:
        _synthesize(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)  # noqa: T201 - a command's output
        return 130
    return 0


def _synthesize(options: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from training.family.folder import load_family, load_teacher
    from training.ladd.pair_sets import pair_recipe
    from training.ladd.pairs import PairShards, whole_shards
    from training.ladd.synthesize import synthesize_pairs
    from training.precision import bf16_is_faster

    if options.count < 1 or options.shard_size < 1:
        raise ValueError(
            f"--count {options.count}, --shard-size {options.shard_size}: both must be 1 or more"
        )
    prompts = read_prompts(options.prompts)
    family = load_family(options.family, device=options.device)
    teacher = load_teacher(options.family, device=options.device)
    recipe = pair_recipe(
        family, steps=options.steps, guidance_scale=options.guidance_scale, first_seed=options.first_seed,
        prompts=f"{len(prompts)} prompts, sha256 {digest_of(prompts)}", shard_size=options.shard_size,
    )  # fmt: skip
    sample = partial(
        synthesize_pairs, teacher, family.text, family.scheduler, steps=options.steps,
        guidance_scale=options.guidance_scale, latent_shape=recipe.latent_shape, batch=options.batch,
        bf16=bf16_is_faster(options.device),
    )  # fmt: skip
    whole = whole_shards(options.count, options.shard_size)
    with torch.inference_mode(), tqdm(total=whole, desc="pairs", unit="pair") as bar:
        shards = PairShards(options.out, recipe)
        shards.fill(whole, lambda row: prompts[row % len(prompts)], sample, on_progress=bar.update)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.synthesize", description=__doc__)
    parser.add_argument("--family", type=Path, required=True, help="the family's folder, with its teacher")
    parser.add_argument("--prompts", type=Path, required=True, help="a text file, one prompt a line")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--count", type=int, required=True, help="pairs; rounded up to whole shards")
    parser.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    parser.add_argument(
        "--guidance-scale", type=float, default=7.5, help="classifier-free guidance (default 7.5)"
    )
    parser.add_argument("--batch", type=int, default=16, help="pairs at a time (default 16)")
    parser.add_argument("--shard-size", type=int, default=SHARD, help=f"pairs a shard (default {SHARD})")
    parser.add_argument("--first-seed", type=int, default=1 << 40, help="noise of pair 0 (default 2^40)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:i]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
