"""A run's material from the user's own files: prompts or pairs, and a folder of captioned pictures.

The teacher draws the prompts; a share of the library's pictures become real pairs beside them, each inverted under its
own caption. A picture is never its own reference: it is a near-duplicate of itself (`training.ladd.neighbours`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.data.picture_folder import CaptionedPicture, read_picture_folder
from training.data.prompt_file import read_prompts
from training.family.folder import LATENT_CONFIGS, configs_hash
from training.ladd.diffusion import Diffusion
from training.ladd.inversion import invert
from training.ladd.masking import Masker
from training.ladd.material import Material
from training.ladd.names import guess_names
from training.ladd.neighbours import calibrate
from training.ladd.own_library import encode_own_library
from training.ladd.pair_sets import HELD_OUT_SEEDS, TRAINING_SEEDS, fill_drawn, fill_shards, pair_recipe
from training.ladd.pairs import NO_SEED, Pairs, PairShards, join_pairs, select_pairs, whole_shards
from training.recipe import digest_of

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.family.folder import Family
    from training.ladd.config import LaddConfig
    from training.ladd.library import TrainingLibrary


def own_material(
    config: LaddConfig, family: Family, teacher: UNet2DConditionModel, *, bf16: bool
) -> Material:
    """Make a run's material from the files that its ``[data]`` names.

    Args:
        config: The run's config.
        family: The base, frozen.
        teacher: Draws the pairs, and leads pictures back to noise.
        bf16: Run the teacher under bfloat16 autocast.

    Raises:
        FileNotFoundError: A file or a picture is missing.
        ValueError: A file cannot be used, or there are too few prompts; names it and the way out.
    """
    # What is wrong with captions, names, pairs or prompts is said before the first picture is encoded.
    data, pictures = config.data, _pictures(config)
    masker = _masker(config, [picture.caption for picture in pictures])
    if data.pairs:
        training, held_out = _given_pairs(config, family)
    else:
        prompts = _split_prompts(config)
    library = encode_own_library(family, Path(data.library), pictures, Path(config.work_dir) / "library")
    if not data.pairs:
        training, held_out = _drawn_pairs(config, family, teacher, *prompts, bf16=bf16)
    percentiles = (config.retrieval.low_percentile, config.retrieval.high_percentile)
    calibration = calibrate(family.text, library, training.prompts, percentiles)
    if config.real.scenes:
        training = join_pairs([training, _real_pairs(config, family, teacher, library, bf16=bf16)])
    return Material(library, calibration, training, held_out, None, masker)


def _masker(config: LaddConfig, captions: Sequence[str]) -> Masker:
    if not config.data.names:
        return Masker(guess_names(captions))
    lines = [[part.strip() for part in line.split(",")] for line in read_prompts(Path(config.data.names))]
    if bad := [line for line in lines if len(line) > 2 or not all(line)]:
        raise ValueError(
            f"{config.data.names}: {', '.join(bad[0])!r} is no name; write one a line, its plural behind a comma where "
            "it is irregular"
        )
    return Masker({line[0]: line[-1] for line in lines})


def _pictures(config: LaddConfig) -> tuple[CaptionedPicture, ...]:
    """The library's; there must be as many as are to become real pairs."""
    pictures = read_picture_folder(Path(config.data.library))
    if config.real.scenes > len(pictures):
        raise ValueError(
            f"[real] scenes is {config.real.scenes}, and {config.data.library} holds {len(pictures)} pictures; lower it"
        )
    return pictures


def _held_out(config: LaddConfig, prompts: Sequence[str], where: str) -> list[str]:
    """The last different prompts, which training leaves out."""
    unique, count = list(dict.fromkeys(prompts)), config.pairs.held_out
    if len(unique) <= count:
        raise ValueError(
            f"{where}: {len(unique)} different prompts, and [pairs] held_out = {count} of them are not trained on; "
            "give more prompts, or lower held_out"
        )
    return unique[-count:]


def _split_prompts(config: LaddConfig) -> tuple[list[str], list[str]]:
    """The prompts to train on, and those held out."""
    prompts = read_prompts(Path(config.data.prompts))
    held_out = _held_out(config, prompts, config.data.prompts)
    apart = set(held_out)
    return [prompt for prompt in prompts if prompt not in apart], held_out


def _drawn_pairs(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    training: list[str],
    held_out: list[str],
    *,
    bf16: bool,
) -> tuple[Pairs, Pairs]:
    size, count = config.pairs.shard_size, config.pairs.count
    asked = list(islice(cycle(training), whole_shards(count, size)))
    folder = Path(config.work_dir) / "pairs"

    def fill(name: str, some: list[str], load: int, first_seed: int, shard_size: int) -> Pairs:
        return fill_drawn(
            config, family, teacher, folder / name, some, load,
            rule=digest_of(some), first_seed=first_seed, shard_size=shard_size, bf16=bf16,
        )  # fmt: skip

    return (
        fill("train", asked, count, TRAINING_SEEDS, size),
        fill("held_out", held_out, len(held_out), HELD_OUT_SEEDS, len(held_out)),
    )


def _given_pairs(config: LaddConfig, family: Family) -> tuple[Pairs, Pairs]:
    """Read what `training.synthesize` made, and take the last prompts out."""
    shards = PairShards.open(Path(config.data.pairs))
    wanted = pair_recipe(family, steps=0, guidance_scale=0, first_seed=0, prompts="", shard_size=1)
    for key in ("teacher", "text_encoder", "latent_shape"):
        there, here = getattr(shards.recipe, key), getattr(wanted, key)
        if there != here:
            raise ValueError(
                f"{config.data.pairs}: pairs of another family ({key}: {there} there, {here} here); make them with "
                f"python -m training.synthesize --family {family.path}"
            )
    pairs = shards.load()
    held_out = _held_out(config, pairs.prompts, config.data.pairs)
    apart = set(held_out)
    kept = [row for row, prompt in enumerate(pairs.prompts) if prompt not in apart][: config.pairs.count]
    if len(kept) < config.largest_batch:
        raise ValueError(
            f"{config.data.pairs}: {len(kept)} pairs to train on, and a batch takes {config.largest_batch}; "
            "make more with python -m training.synthesize, or lower [optimiser] and [alignment] batch"
        )
    first = {prompt: row for row, prompt in reversed(list(enumerate(pairs.prompts)))}
    return select_pairs(pairs, kept), select_pairs(pairs, [first[prompt] for prompt in held_out])


def _real_pairs(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    library: TrainingLibrary,
    *,
    bf16: bool,
) -> Pairs:
    """Invert some of the library's pictures, chosen by the seed."""
    size = config.pairs.shard_size
    order = np.random.default_rng(config.seed).permutation(len(library))
    # From the top again where the pictures do not fill the last shard.
    rows = np.resize(order, whole_shards(config.real.scenes, size)).tolist()
    captions = [library.captions[row] for row in rows]
    encoded = hashlib.sha256(library.latents[rows].numpy().tobytes()).hexdigest()
    configs = configs_hash(family.path, LATENT_CONFIGS)
    recipe = pair_recipe(
        family, steps=config.real.steps, guidance_scale=1.0, first_seed=0,
        prompts=f"captions {digest_of(captions)}, pictures {encoded[:16]}, configs {configs[:16]}", shard_size=size,
    )  # fmt: skip
    diffusion = Diffusion(family.scheduler, device=teacher.device)

    def sample(prompts: Sequence[str], numbers: Sequence[int]) -> Iterator[Pairs]:
        for first in range(0, len(numbers), config.pairs.batch):
            some = tuple(prompts[first : first + config.pairs.batch])
            latents = library.latents[[rows[number] for number in numbers[first : first + len(some)]]]
            with torch.no_grad():
                embeds, _ = family.text.encode(list(some))
            clean = latents.to(teacher.device)
            noise = invert(teacher, diffusion, clean, embeds, steps=config.real.steps, bf16=bf16)
            yield Pairs(some, torch.full((len(some),), NO_SEED, dtype=torch.int64), latents, noise.cpu())

    folder = Path(config.work_dir) / "pairs" / "real"
    return fill_shards(
        folder,
        recipe,
        len(rows),
        lambda number: library.captions[rows[number]],
        sample,
        load=config.real.scenes,
    )
