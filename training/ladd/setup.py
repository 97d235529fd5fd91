"""Puts a run together: the frozen family, its library, the teacher's pairs, and the student."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm

from training.data.concepts import concepts
from training.data.render import draw_batch
from training.data.splits import scene, scenes
from training.data.world import World, parse_world
from training.family.folder import DIFFUSERS_WEIGHTS, Family, family_hashes, load_family, load_teacher
from training.ladd.batches import Batcher
from training.ladd.config import LaddConfig
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
from training.ladd.library import ReferenceFeatures, TrainingLibrary, encode_keys, encode_pictures
from training.ladd.masking import Masker
from training.ladd.neighbours import find_neighbours
from training.ladd.pairs import PairRecipe, Pairs, PairShards
from training.ladd.step import Judge
from training.ladd.student import Student
from training.ladd.synthesize import synthesize_pairs
from training.precision import autocast

logger = logging.getLogger(__name__)

TRAINING_SEEDS = 1 << 40
"""Pair i starts from the noise of seed 2^40 + i: no user's seed has been trained on."""
HELD_OUT_SEEDS = 1 << 41
HELD_OUT_SCENES = 1 << 40
"""The held-out captions come from here on; training leaves them out."""
SCENES_TRIED = 20  # per caption that is needed


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
    training, held_out = make_pairs(config, family, teacher, world, bf16=bf16)
    student = new_student(config, family, retrieves=retrieves)
    features = _reference_features(config, family, student, library, bf16=bf16) if retrieves else None
    heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width).to(device)
    return Parts(
        family,
        hashes,
        library,
        features,
        *_batchers(config, family, library, world, training, held_out, retrieves=retrieves),
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
    """Find and replace the names of a world's things."""
    return Masker({name: concepts()[name].plural for name in world.names})


def encode_library(family: Family, world: World) -> TrainingLibrary:
    """Draw and encode the family's library: the scenes that its bundle will hold."""
    entries = scenes(world, "library", int(family.settings["config"]["library"]["count"]))
    parts = [
        encode_pictures(
            family.vae, torch.from_numpy(draw_batch(entries[first : first + 256], family.resolution))
        )
        for first in tqdm(range(0, len(entries), 256), desc="library", unit="batch")
    ]
    captions = tuple(entry.caption for entry in entries)
    return TrainingLibrary(captions, torch.cat(parts), encode_keys(family.text, captions))


def make_pairs(
    config: LaddConfig, family: Family, teacher: torch.nn.Module, world: World, *, bf16: bool
) -> tuple[Pairs, Pairs]:
    """Let the teacher draw the pairs that are missing.

    Returns:
        The training pairs and the held-out ones: other scenes, captions that training never sees, other
        noise.
    """
    size = config.pairs.shard_size
    held_out = _captions(world, HELD_OUT_SCENES, config.pairs.held_out, leave_out=set(), once=True)
    # Whole shards: more pairs may be asked for later, and those that are there stay good.
    count = -(-config.pairs.count // size) * size
    training = _captions(world, 0, count, leave_out=set(held_out))
    rule = f"{world.digest}, {len(held_out)} held out"
    folder = Path(config.work_dir) / "pairs"
    fill = partial(_fill, config, family, teacher, rule=rule, bf16=bf16)
    return (
        fill(folder / "train", training, config.pairs.count, first_seed=TRAINING_SEEDS, shard_size=size),
        fill(
            folder / "held_out", held_out, len(held_out), first_seed=HELD_OUT_SEEDS, shard_size=len(held_out)
        ),
    )


def _captions(world: World, first: int, count: int, *, leave_out: set[str], once: bool = False) -> list[str]:
    """The captions of the train split from a scene on, but for some; each only once if so asked."""
    captions: list[str] = []
    seen = set(leave_out)
    for index in range(first, first + SCENES_TRIED * count):
        if len(captions) == count:
            break
        caption = scene(world, "train", index).caption
        if caption not in seen:
            captions.append(caption)
            if once:
                seen.add(caption)
    if len(captions) < count:
        raise ValueError(
            f"{SCENES_TRIED * count} scenes gave {len(captions)} of the {count} captions that are needed: the world "
            "is too small; lower [pairs] held_out or count"
        )
    return captions


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


def _fill(
    config: LaddConfig,
    family: Family,
    teacher: torch.nn.Module,
    folder: Path,
    captions: list[str],
    count: int,
    *,
    rule: str,
    first_seed: int,
    shard_size: int,
    bf16: bool,
) -> Pairs:
    """Make the pairs that are missing, and read the first ones."""
    unet = family.unet.config
    side = int(unet.sample_size)
    shape = (int(unet.in_channels), side, side)
    recipe = PairRecipe(
        teacher=_file_hash(family.path / "teacher" / DIFFUSERS_WEIGHTS),
        text_encoder=family_hashes(family.path)["text_encoder"],
        steps=config.pairs.steps,
        guidance_scale=config.pairs.guidance_scale,
        latent_shape=shape,
        first_seed=first_seed,
        prompts=rule,
        shard_size=shard_size,
    )
    sample = partial(
        synthesize_pairs,
        teacher,
        family.text,
        family.scheduler,
        steps=config.pairs.steps,
        guidance_scale=config.pairs.guidance_scale,
        latent_shape=shape,
        batch=config.pairs.batch,
        bf16=bf16,
    )
    shards = PairShards(folder, recipe)
    with tqdm(total=len(captions), desc=f"pairs {folder.name}", unit="pair") as bar:
        shards.fill(len(captions), captions.__getitem__, sample, on_progress=bar.update)
    return shards.load(count)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _batchers(
    config: LaddConfig,
    family: Family,
    library: TrainingLibrary,
    world: World,
    training: Pairs,
    held_out: Pairs,
    *,
    retrieves: bool,
) -> tuple[Batcher, Batcher]:
    masker = masker_of(world)
    settings = config.retrieval
    batchers, calibration = [], None
    for pairs in (training, held_out):
        neighbours = find_neighbours(
            family.text,
            library,
            pairs,
            candidates=settings.candidates,
            near_duplicate=settings.near_duplicate,
            calibration=calibration,
            percentiles=(settings.low_percentile, settings.high_percentile),
        )
        calibration = neighbours.calibration
        batchers.append(
            Batcher(
                pairs,
                neighbours,
                library,
                masker,
                retrieval=settings,
                masking=config.masking,
                seed=config.seed,
                retrieves=retrieves,
            )
        )
    logger.info("lambda is 0 at a cosine of %.4f, 1 at %.4f", calibration.low, calibration.high)  # type: ignore[union-attr]
    return batchers[0], batchers[1]
