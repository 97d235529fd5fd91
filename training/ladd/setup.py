"""Puts a run together: the frozen family, its library, the pairs, and the student."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm

from training.data.inventions import concept_of
from training.data.splits import scenes
from training.data.world import World, parse_world
from training.family.folder import Family, family_hashes, load_family, load_teacher
from training.ladd.batches import Batcher
from training.ladd.config import LaddConfig
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
from training.ladd.library import ReferenceFeatures, TrainingLibrary, encode_keys, encode_scenes
from training.ladd.neighbours import calibrate, find_neighbours
from training.ladd.pair_sets import make_pairs, make_real_pairs
from training.ladd.pairs import Pairs, join_pairs
from training.ladd.step import Judge
from training.ladd.strangers import masker_of, strangers_of
from training.ladd.student import Student
from training.precision import bf16_is_faster

if TYPE_CHECKING:
    from ragturbo_runtime.retriever import Calibration
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


def assemble(config: LaddConfig, family_path: Path, *, retrieves: bool, device: torch.device) -> Parts:
    """Load and make everything. What was made before is read from the work folder.

    Args:
        config: The run's config.
        family_path: The family's folder.
        retrieves: False: no references and no adapter (the LoRA-only control).
        device: Where the networks go.

    Raises:
        FileNotFoundError: The family lacks a part.
        ValueError: The work folder holds pairs of another recipe, or a bad shard.
    """
    family = load_family(family_path, device=device)
    teacher = load_teacher(family_path, device=device)
    if device.type == "cpu":
        # Plain matmuls: the backward pass of PyTorch's fused attention is slow on CPUs.
        for unet in (family.unet, teacher):
            unet.set_attn_processor(AttnProcessor())
    hashes = family_hashes(family_path)
    world = world_of(family)
    library = encode_library(family, world)
    bf16 = resolve_bf16(config.run.bf16, device)
    sets: list[Pairs] = list(make_pairs(config, family, teacher, world, bf16=bf16))
    percentiles = (config.retrieval.low_percentile, config.retrieval.high_percentile)
    calibration = calibrate(family.text, library, sets[0].prompts, percentiles)
    logger.info("lambda is 0 at a cosine of %.4f, 1 at %.4f", calibration.low, calibration.high)
    if config.real.scenes:
        leave_out = frozenset(sets[1].prompts)
        real, unknown = make_real_pairs(config, family, teacher, world, leave_out=leave_out, bf16=bf16)
        sets = [join_pairs([sets[0], real]), sets[1], unknown]
        library = library.with_lent(encode_lent(config, family, world))
    student = new_student(config, family, retrieves=retrieves)
    features = _reference_features(config, family, student, library, bf16=bf16) if retrieves else None
    new_batcher = partial(
        _new_batcher, config, family, library, world, calibration=calibration, retrieves=retrieves
    )
    training, held_out, *unknown_things = (new_batcher(pairs) for pairs in sets)
    heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width).to(device)
    return Parts(
        family,
        hashes,
        library,
        features,
        training,
        held_out,
        unknown_things[0] if unknown_things else None,
        student,
        heads,
        Judge(teacher, heads, student.diffusion, config.losses, bf16=bf16),
        bf16,
    )


def resolve_bf16(setting: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Decide whether the networks run under bfloat16 autocast: as set, or where it is faster."""
    if setting != "auto":
        return setting == "on"
    return bf16_is_faster(device)


def world_of(family: Family) -> World:
    """The concepts and the seed that a family was trained with."""
    return parse_world(family.settings["config"]["world"])


def encode_library(family: Family, world: World) -> TrainingLibrary:
    """Draw and encode the family's library: the scenes that its bundle will hold."""
    count = int(family.settings["config"]["library"]["count"])
    return _encode_scenes(family, scenes(world, "library", count), "library")


def encode_lent(config: LaddConfig, family: Family, world: World) -> TrainingLibrary:
    """Draw and encode scenes of the things that the adapter is lent; no bundle holds them."""
    lent = World(common=strangers_of(config.real, world), rare=(), library_only=(), seed=world.seed)
    return _encode_scenes(family, scenes(lent, "library", config.real.library), "lent library")


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
    library: TrainingLibrary,
    world: World,
    pairs: Pairs,
    *,
    calibration: Calibration,
    retrieves: bool,
) -> Batcher:
    strangers = strangers_of(config.real, world)
    masker = masker_of(world, strangers)
    neighbours = find_neighbours(
        family.text,
        library,
        pairs,
        candidates=config.retrieval.candidates,
        near_duplicate=config.retrieval.near_duplicate,
        calibration=calibration,
        masker=masker,
        lent=tuple(concept_of(name).name for name in strangers),
    )
    return Batcher(
        pairs,
        neighbours,
        library,
        masker,
        retrieval=config.retrieval,
        masking=config.masking,
        fresh_noise=config.real.fresh_noise,
        seed=config.seed,
        retrieves=retrieves,
    )
