"""Puts a run together: the frozen family, its library, the teacher's pairs, and the student."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm

from ragturbo_runtime.retriever import Calibration
from training.data.concepts import concepts
from training.data.render import draw_batch
from training.data.splits import scenes
from training.data.world import World, parse_world
from training.family.folder import Family, family_hashes, load_family, load_teacher
from training.ladd.batches import Batcher
from training.ladd.config import LaddConfig
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
from training.ladd.library import ReferenceFeatures, TrainingLibrary, encode_keys, encode_pictures
from training.ladd.masking import Masker
from training.ladd.neighbours import find_neighbours
from training.ladd.pair_sets import make_pairs, make_real_pairs
from training.ladd.pairs import Pairs, join_pairs
from training.ladd.step import Judge
from training.ladd.student import Student
from training.precision import autocast

if TYPE_CHECKING:
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
    if config.real.scenes:
        library = library + encode_lent(config, family, world)
    bf16 = resolve_bf16(config.run.bf16, device)
    training, held_out = make_pairs(config, family, teacher, world, bf16=bf16)
    unknown = None
    if config.real.scenes:
        real, unknown = make_real_pairs(
            config, family, teacher, world, leave_out=set(held_out.prompts), bf16=bf16
        )
        training = join_pairs([training, real])
    student = new_student(config, family, retrieves=retrieves)
    features = _reference_features(config, family, student, library, bf16=bf16) if retrieves else None
    new_batcher = _NewBatcher(config, family, library, world, retrieves=retrieves)
    heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width).to(device)
    return Parts(
        family,
        hashes,
        library,
        features,
        new_batcher(training),
        new_batcher(held_out),
        None if unknown is None else new_batcher(unknown),
        student,
        heads,
        Judge(teacher, heads, student.diffusion, config.losses, bf16=bf16),
        bf16,
    )


def resolve_bf16(setting: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Decide whether the networks run under bfloat16 autocast: as set, or where it is faster."""
    if setting != "auto":
        return setting == "on"
    with autocast(device):
        return torch.is_autocast_enabled(device.type)


def world_of(family: Family) -> World:
    """The concepts and the seed that a family was trained with."""
    return parse_world(family.settings["config"]["world"])


def masker_of(world: World) -> Masker:
    """Find and replace the names of a world's things, and of those that an adapter is lent."""
    return Masker({name: concepts()[name].plural for name in world.names + world.lent})


def encode_library(family: Family, world: World) -> TrainingLibrary:
    """Draw and encode the family's library: the scenes that its bundle will hold."""
    count = int(family.settings["config"]["library"]["count"])
    return _encode_scenes(family, scenes(world, "library", count), "library")


def encode_lent(config: LaddConfig, family: Family, world: World) -> TrainingLibrary:
    """Draw and encode scenes of the things that the adapter is lent; no bundle holds them."""
    lent = World(common=world.lent, rare=(), library_only=(), seed=world.seed)
    return _encode_scenes(family, scenes(lent, "library", config.real.library), "lent library")


def _encode_scenes(family: Family, entries: list[Scene], name: str) -> TrainingLibrary:
    parts = [
        encode_pictures(
            family.vae, torch.from_numpy(draw_batch(entries[first : first + 256], family.resolution))
        )
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


class _NewBatcher:
    """Makes the batchers of a run: one library, one masker, one calibration."""

    def __init__(
        self, config: LaddConfig, family: Family, library: TrainingLibrary, world: World, *, retrieves: bool
    ) -> None:
        self.config, self.family, self.library, self.retrieves = config, family, library, retrieves
        self.masker, self.strange = masker_of(world), world.lent + world.library_only
        self.calibration: Calibration | None = None

    def __call__(self, pairs: Pairs) -> Batcher:
        """The first pairs are those that are trained on: lambda is calibrated on them."""
        settings = self.config.retrieval
        neighbours = find_neighbours(
            self.family.text,
            self.library,
            pairs,
            candidates=settings.candidates,
            near_duplicate=settings.near_duplicate,
            calibration=self.calibration,
            percentiles=(settings.low_percentile, settings.high_percentile),
            masker=self.masker,
            strange=self.strange,
        )
        if self.calibration is None:
            found = self.calibration = neighbours.calibration
            logger.info("lambda is 0 at a cosine of %.4f, 1 at %.4f", found.low, found.high)
        return Batcher(
            pairs,
            neighbours,
            self.library,
            self.masker,
            retrieval=settings,
            masking=self.config.masking,
            fresh_noise=self.config.real.fresh_noise,
            seed=self.config.seed,
            retrieves=self.retrieves,
        )
