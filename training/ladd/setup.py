"""Puts a run together: the frozen family, its library, the pairs, and the student."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from tqdm import tqdm

from training.data.inventions import concept_of
from training.data.splits import scenes
from training.data.world import World
from training.family.folder import Family, family_hashes, weights_hash
from training.ladd.batches import Batcher
from training.ladd.config import LaddConfig
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
from training.ladd.frozen import load_frozen
from training.ladd.guide import Guide
from training.ladd.library import ReferenceFeatures, TrainingLibrary, encode_keys, encode_scenes
from training.ladd.material import Material
from training.ladd.neighbour_cache import kept_neighbours, neighbours_key
from training.ladd.neighbours import Neighbours, calibrate, find_neighbours
from training.ladd.own_data import own_material
from training.ladd.pair_sets import make_pairs, make_real_pairs, real_scenes
from training.ladd.pairs import Pairs, join_pairs
from training.ladd.step import Judge
from training.ladd.strangers import masker_of, strangers_of
from training.ladd.student import Student
from training.ladd.vgg_distance import VggDistance
from training.models.split_unet import bottleneck_side
from training.precision import bf16_is_faster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel

    from training.data.scene import Scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """All that a run needs."""

    family: Family
    hashes: dict[str, str]
    library: TrainingLibrary
    features: ReferenceFeatures | None
    """None without retrieval."""
    training: Batcher
    held_out: Batcher
    unknown: Batcher | None
    """Held-out real pairs with things that only the library shows; None without real pairs."""
    student: Student
    heads: DiscriminatorHeads
    judge: Judge
    bf16: bool
    """Whether the networks run under bfloat16 autocast."""
    guide: Guide | None = None
    """What the training pairs and the entries show where; None where nobody can say, or nobody asks."""


def assemble(config: LaddConfig, family_path: Path, *, retrieves: bool, device: torch.device) -> Parts:
    """Load and make everything. What was made before is read from the work folder.

    Args:
        config: The run's config.
        family_path: The family's folder.
        retrieves: False: no references and no adapter (the LoRA-only control).
        device: Where the networks go.

    Raises:
        FileNotFoundError: The family lacks a part, or the perceptual network's weights are not there.
        ValueError: The config does not fit the family, or the work folder holds pairs of another recipe or a bad shard.
    """
    family, teacher = load_frozen(family_path, config.run, device=device)
    check_fits(config, family.unet)  # before hours of making pairs
    bf16 = config.run.frozen_dtype == "bfloat16" or resolve_bf16(config.run.bf16, device)
    make = own_material if config.data.library else _world_material
    material = make(config, family, teacher, bf16=bf16)
    kept = Path(config.work_dir) / "neighbours"
    return put_together(config, family, teacher, material, retrieves=retrieves, bf16=bf16, kept=kept)


def check_fits(config: LaddConfig, unet: UNet2DConditionModel) -> None:
    """Refuse what this base cannot be trained with.

    Raises:
        ValueError: A number does not divide what it must.
        FileNotFoundError: The perceptual network's weights are not there.
    """
    channels, side = int(unet.config.block_out_channels[-1]), bottleneck_side(unet)
    for key, value, whole, what in (
        ("[student] attention_heads", config.student.attention_heads, channels, "channels of h"),
        ("[student] norm_groups", config.student.norm_groups, channels, "channels of h"),
        ("[retrieval] reference_pool", config.retrieval.reference_pool, side, "cells along a side of h"),
    ):
        if whole % value:
            fits = ", ".join(str(number) for number in range(1, whole + 1) if whole % number == 0)
            raise ValueError(f"{key} is {value}; it must divide the {whole} {what} of this base: {fits}")
    weights = Path(config.losses.perceptual_weights)
    if config.losses.perceptual_network == "vgg" and not weights.is_file():
        raise FileNotFoundError(f"[losses] perceptual_weights: there is no file {str(weights)!r}")


def put_together(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    material: Material,
    *,
    retrieves: bool,
    bf16: bool,
    kept: Path | None = None,
) -> Parts:
    """Make student, discriminator and batches for what is loaded.

    Args:
        config: The run's config.
        family: The base, frozen; its U-Net becomes the student's.
        teacher: Frozen.
        material: What to learn from.
        retrieves: As `assemble`.
        bf16: Run the networks under bfloat16 autocast.
        kept: Folder of the neighbours that were found before; None keeps none.
    """
    calibration, library = material.calibration, material.library
    logger.info("lambda is 0 at a cosine of %.4f, 1 at %.4f", calibration.low, calibration.high)
    student = new_student(config, family, retrieves=retrieves)
    features = _reference_features(config, family, student, library, bf16=bf16) if retrieves else None
    new_batcher = partial(_new_batcher, config, family, material, retrieves=retrieves, kept=kept)
    unknown = None if material.unknown is None else new_batcher(material.unknown)
    heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width)
    heads.to(family.unet.device)
    return Parts(
        family,
        family_hashes(family.path),
        library,
        features,
        new_batcher(material.training),
        new_batcher(material.held_out),
        unknown,
        student,
        heads,
        Judge(teacher, heads, student.diffusion, config.losses, bf16=bf16, vgg=_vgg(config, family)),
        bf16,
        material.guide,
    )


def _vgg(config: LaddConfig, family: Family) -> VggDistance | None:
    if config.losses.perceptual_network != "vgg":
        return None
    return VggDistance(Path(config.losses.perceptual_weights), family.vae)


def _world_material(
    config: LaddConfig, family: Family, teacher: UNet2DConditionModel, *, bf16: bool
) -> Material:
    """Drawn scenes of the family's world."""
    world = family.world
    library = encode_library(family, world)
    training, held_out = make_pairs(config, family, teacher, world, bf16=bf16)
    percentiles = (config.retrieval.low_percentile, config.retrieval.high_percentile)
    calibration = calibrate(family.text, library, training.prompts, percentiles)
    unknown, guide = None, None
    if config.real.scenes:
        shown = real_scenes(config, world, leave_out=frozenset(held_out.prompts))
        real, unknown = make_real_pairs(config, family, teacher, world, shown, bf16=bf16)
        library = library.with_lent(encode_lent(config, family, world))
        if config.alignment.guide:
            pictures = [None] * len(training) + [shown.shown(number) for number in range(len(real))]
            guide = _guide(config, family, world, pictures)
        training = join_pairs([training, real])
    strangers = strangers_of(config.real, world)
    lent = tuple(concept_of(name).name for name in strangers)
    return Material(
        library, calibration, training, held_out, unknown, masker_of(world, strangers), lent, guide
    )


def resolve_bf16(setting: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Decide whether the networks run under bfloat16 autocast: as set, or where it is faster."""
    if setting != "auto":
        return setting == "on"
    return bf16_is_faster(device)


def encode_library(family: Family, world: World) -> TrainingLibrary:
    """Draw and encode the family's library: the scenes that its bundle will hold."""
    return _encode_scenes(family, _library_scenes(family, world), "library")


def encode_lent(config: LaddConfig, family: Family, world: World) -> TrainingLibrary:
    """Draw and encode scenes of the things that the adapter is lent; no bundle holds them."""
    return _encode_scenes(family, _lent_scenes(config, world), "lent library")


def _library_scenes(family: Family, world: World) -> list[Scene]:
    return scenes(world, "library", int(family.settings["config"]["library"]["count"]))


def _lent_scenes(config: LaddConfig, world: World) -> list[Scene]:
    lent = World(common=strangers_of(config.real, world), rare=(), library_only=(), seed=world.seed)
    return scenes(lent, "library", config.real.library)


def _guide(config: LaddConfig, family: Family, world: World, pictures: Sequence[Scene | None]) -> Guide:
    side = bottleneck_side(family.unet)
    entries = _library_scenes(family, world) + _lent_scenes(config, world)
    return Guide.of(pictures, entries, side=side, pool=config.retrieval.reference_pool)


def _encode_scenes(family: Family, entries: list[Scene], name: str) -> TrainingLibrary:
    parts = [
        encode_scenes(family.vae, entries[first : first + 256], family.resolution)
        for first in tqdm(range(0, len(entries), 256), desc=name, unit="batch")
    ]
    captions = tuple(entry.caption for entry in entries)
    return TrainingLibrary(captions, torch.cat(parts), encode_keys(family.text, captions))


def new_student(config: LaddConfig, family: Family, *, retrieves: bool) -> Student:
    """Make an untrained student of a family, the same for the same seed: it draws what the base draws."""
    torch.manual_seed(config.seed)
    return Student(
        family.unet,
        Diffusion(family.scheduler, device=family.unet.device),
        heads=config.student.attention_heads,
        norm_groups=config.student.norm_groups,
        rank=config.student.lora_rank,
        alpha=config.student.lora_alpha,
        retrieval=retrieves,
    )


def _reference_features(
    config: LaddConfig, family: Family, student: Student, library: TrainingLibrary, *, bf16: bool
) -> ReferenceFeatures:
    return ReferenceFeatures(
        student.unet,
        family.text,
        library,
        timestep=config.retrieval.reference_timestep,
        caption=config.retrieval.reference_caption,
        pool=config.retrieval.reference_pool,
        codec=config.retrieval.feature_codec,
        bf16=bf16,
    )


def _new_batcher(
    config: LaddConfig,
    family: Family,
    material: Material,
    pairs: Pairs,
    *,
    retrieves: bool,
    kept: Path | None,
) -> Batcher:
    return Batcher(
        pairs,
        _neighbours(config, family, material, pairs, kept),
        material.library,
        material.masker,
        retrieval=config.retrieval,
        masking=config.masking,
        fresh_noise=config.real.fresh_noise,
        seed=config.seed,
        retrieves=retrieves,
    )


def _neighbours(
    config: LaddConfig, family: Family, material: Material, pairs: Pairs, kept: Path | None
) -> Neighbours:
    """Find the pairs' neighbours, or read what an earlier run or another process found."""
    settings = config.retrieval
    find = partial(
        find_neighbours, family.text, material.library, pairs, candidates=settings.candidates,
        near_duplicate=settings.near_duplicate, calibration=material.calibration, masker=material.masker,
        lent=material.lent,
    )  # fmt: skip
    if kept is None:
        return find()
    key = neighbours_key(
        weights_hash(family.path, "text_encoder"), material.library, pairs, material.masker, material.lent,
        candidates=settings.candidates, near_duplicate=settings.near_duplicate,
    )  # fmt: skip
    return kept_neighbours(kept, key, material.calibration, find)
