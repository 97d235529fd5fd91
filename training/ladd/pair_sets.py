"""The pairs of a run: teacher-made and real ones, to train on and held out. What was made before is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from training.data.world import KINDS_IN_A_SCENE
from training.family.folder import LATENT_CONFIGS, configs_hash, weights_hash
from training.ladd.diffusion import Diffusion
from training.ladd.pairs import PairRecipe, Pairs, PairShards, whole_shards
from training.ladd.real_pairs import RealPairSampler, RealScenes, known_scenes
from training.ladd.scene_search import find_scenes
from training.ladd.strangers import inventions_of
from training.ladd.synthesize import synthesize_pairs
from training.models.split_unet import latent_shape

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.data.scene import Scene
    from training.data.world import World
    from training.family.folder import Family
    from training.ladd.config import LaddConfig

TRAINING_SEEDS = 1 << 40
"""Pair i starts from the noise of seed 2^40 + i: no user's seed has been trained on."""
HELD_OUT_SEEDS = 1 << 41
HELD_OUT_SCENES = 1 << 40
"""The held-out captions come from here on; training leaves them out."""
REAL_SCENES = 1 << 38
"""The scenes of real pairs come from here on, the held-out ones from as far behind `HELD_OUT_SCENES`."""


def make_pairs(
    config: LaddConfig, family: Family, teacher: UNet2DConditionModel, world: World, *, bf16: bool
) -> tuple[Pairs, Pairs]:
    """Let the teacher draw the pairs that are missing.

    Returns:
        The training pairs and the held-out ones: other scenes, captions that training never sees, other
        noise.
    """
    size = config.pairs.shard_size
    held_out = _captions(world, HELD_OUT_SCENES, config.pairs.held_out, leave_out=set(), once=True)
    count = whole_shards(config.pairs.count, size)
    training = _captions(world, 0, count, leave_out=set(held_out))
    rule = f"{world.digest}, {len(held_out)} held out"
    folder = Path(config.work_dir) / "pairs"
    fill = partial(fill_drawn, config, family, teacher, rule=rule, bf16=bf16)
    return (
        fill(folder / "train", training, config.pairs.count, first_seed=TRAINING_SEEDS, shard_size=size),
        fill(
            folder / "held_out", held_out, len(held_out), first_seed=HELD_OUT_SEEDS, shard_size=len(held_out)
        ),
    )


def real_scenes(config: LaddConfig, world: World, *, leave_out: frozenset[str]) -> RealScenes:
    """Choose what the real pairs show that are trained on: things that the base does not know or seldom saw among them.

    Args:
        config: The run's.
        world: The family's.
        leave_out: Captions that no pair may have.

    Raises:
        ValueError: The world leaves too few things that the base does not know.
    """
    settings = config.real
    if len(world.lent) < KINDS_IN_A_SCENE or not world.library_only:
        raise ValueError(
            f"[real] puts unknown things into scenes, and this world leaves {len(world.lent)} to lend and "
            f"{len(world.library_only)} that only the library shows; name fewer concepts as common, or set [real] "
            "scenes to 0"
        )
    count = whole_shards(settings.scenes, config.pairs.shard_size)
    known = known_scenes(world, REAL_SCENES, count, leave_out=leave_out, way_out="lower [real] scenes")
    pools = (
        (),
        *([world.rare] if world.rare else []),
        *[world.lent] * settings.lent_variants,
        *[inventions_of(settings, world)] * settings.invented_variants,
    )
    return RealScenes(known, pools, trained=True, leave_out=leave_out, seed=config.seed)


def make_real_pairs(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    world: World,
    shown: RealScenes,
    *,
    bf16: bool,
) -> tuple[Pairs, Pairs]:
    """Invert the real pictures that are missing.

    Args:
        config: The run's.
        family: The base.
        teacher: Inverts.
        world: The family's.
        shown: From `real_scenes`.
        bf16: Run the teacher under bfloat16 autocast.

    Returns:
        The training pairs, and the held-out ones, with things that only the library shows.

    Raises:
        ValueError: The world holds too few scenes.
    """
    settings = config.real
    others = known_scenes(
        world,
        HELD_OUT_SCENES + REAL_SCENES,
        settings.held_out,
        leave_out=frozenset(),
        way_out="lower [real] held_out",
    )
    unknown = RealScenes(others, (world.library_only,), trained=False, seed=config.seed)
    fill = partial(_fill_real, config, family, teacher, bf16=bf16)
    size = config.pairs.shard_size * shown.variants
    rule = f"{world.digest}, {len(shown.leave_out)} held out"
    return (
        fill("real", shown, settings.scenes * shown.variants, rule=rule, shard_size=size),
        fill("real_held_out", unknown, len(unknown), rule=world.digest, shard_size=len(unknown)),
    )


def _fill_real(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    name: str,
    shown: RealScenes,
    count: int,
    *,
    rule: str,
    shard_size: int,
    bf16: bool,
) -> Pairs:
    """Invert the real pairs that are missing, and read the first ones."""
    # Unlike drawn pairs, these depend on the autoencoder and its scale.
    vae, configs = weights_hash(family.path, "vae"), configs_hash(family.path, LATENT_CONFIGS)
    recipe = pair_recipe(
        family,
        steps=config.real.steps,
        guidance_scale=1.0,
        first_seed=0,
        prompts=f"{rule}, real, {shown.rule}, vae {vae[:16]}, configs {configs[:16]}",
        shard_size=shard_size,
    )
    sample = RealPairSampler(
        teacher,
        family.text,
        family.vae,
        family.resolution,
        Diffusion(family.scheduler, device=family.unet.device),
        shown,
        steps=config.real.steps,
        batch=config.pairs.batch,
        bf16=bf16,
    )
    folder = Path(config.work_dir) / "pairs" / name
    return fill_shards(
        folder, recipe, len(shown), lambda number: shown.shown(number).caption, sample, load=count
    )


def _captions(world: World, first: int, count: int, *, leave_out: set[str], once: bool = False) -> list[str]:
    """The captions of the train split from a scene on, but for some; each only once if so asked."""
    seen = set(leave_out)

    def is_new(one: Scene) -> bool:
        if one.caption in seen:
            return False
        if once:
            seen.add(one.caption)
        return True

    found = find_scenes(
        world,
        first,
        count,
        wanted=is_new,
        what="captions",
        way_out="the world is too small: lower [pairs] held_out or count",
    )
    return [one.caption for one in found]


def fill_drawn(
    config: LaddConfig,
    family: Family,
    teacher: UNet2DConditionModel,
    folder: Path,
    captions: list[str],
    count: int,
    *,
    rule: str,
    first_seed: int,
    shard_size: int,
    bf16: bool,
) -> Pairs:
    """Let the teacher draw the pairs that are missing, and read the first ones.

    Args:
        config: The run's: how the teacher samples.
        family: The base.
        teacher: Draws.
        folder: Of the shards.
        captions: The prompts, in order.
        count: How many of the first pairs to read.
        rule: Where the captions come from: pairs of another rule are refused.
        first_seed: Pair i starts from the noise of this seed + i.
        shard_size: Pairs a shard.
        bf16: Run the teacher under bfloat16 autocast.
    """
    settings = config.pairs
    recipe = pair_recipe(
        family,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        first_seed=first_seed,
        prompts=rule,
        shard_size=shard_size,
    )
    sample = partial(
        synthesize_pairs,
        teacher,
        family.text,
        family.scheduler,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        latent_shape=recipe.latent_shape,
        batch=settings.batch,
        bf16=bf16,
    )
    return fill_shards(folder, recipe, len(captions), captions.__getitem__, sample, load=count)


def pair_recipe(
    family: Family,
    *,
    steps: int,
    guidance_scale: float,
    first_seed: int,
    prompts: str,
    shard_size: int,
) -> PairRecipe:
    """Say what a set of pairs is made with: the family's hashes and latent shape, and what the caller adds."""
    return PairRecipe(
        teacher=weights_hash(family.path, "teacher"),
        text_encoder=weights_hash(family.path, "text_encoder"),
        steps=steps,
        guidance_scale=guidance_scale,
        latent_shape=latent_shape(family.unet),
        first_seed=first_seed,
        prompts=prompts,
        shard_size=shard_size,
    )


def fill_shards(
    folder: Path,
    recipe: PairRecipe,
    count: int,
    prompt_of: Callable[[int], str],
    sample: Callable[[Sequence[str], Sequence[int]], Iterator[Pairs]],
    *,
    load: int,
) -> Pairs:
    """Make the shards that are missing, and read the first pairs.

    Args:
        folder: Of the shards.
        recipe: What the pairs are made with; a folder of another is refused.
        count: Pairs to make, rounded up to whole shards.
        prompt_of: Gives the prompt of pair i.
        sample: As `PairShards.fill` calls it.
        load: How many of the first pairs to read.
    """
    shards = PairShards(folder, recipe)
    with tqdm(total=count, desc=f"pairs {folder.name}", unit="pair") as bar:
        shards.fill(count, prompt_of, sample, on_progress=bar.update)
    return shards.load(load)
