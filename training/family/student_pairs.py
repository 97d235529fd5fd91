"""What the student learns from: the teacher's pairs, and real ones whose layout is known.

The real ones also show things that nobody knows, under made-up names (`training.data.inventions`, `World.lent`): so h
says that, where and how big something stands, even if only a reference can say what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.data.inventions import concept_of, invent
from training.data.layout_map import layout_maps
from training.data.splits import scene
from training.family.shapes import SCHEDULER
from training.ladd.diffusion import Diffusion
from training.ladd.masking import Masker
from training.ladd.pairs import PairRecipe, Pairs, PairShards, whole_shards
from training.ladd.real_pairs import RealPairSampler, RealScenes, known_scenes
from training.ladd.synthesize import synthesize_pairs
from training.models.split_unet import bottleneck_side, latent_shape
from training.precision import bf16_is_faster

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training.data.world import World
    from training.family.config import FamilyConfig
    from training.family.text_tower import TextTower

SHARD = 500
FIRST_SCENE = 1_000_000  # captions that the teacher was not trained on
FIRST_REAL_SCENE = 1 << 37
INVENTION_SEED = 1
REAL_SEED = 2
INVERSION_STEPS = 5
PAIR_BATCH = 32


@dataclass(frozen=True)
class StudentPairs:
    """Teacher-made pairs, and real ones with their layouts."""

    drawn: Pairs
    real: Pairs | None
    layouts: Tensor | None
    """(len(real), 4, side, side) float32, as `training.data.layout_map.layout_maps`."""


@dataclass(frozen=True)
class PairMaker:
    """Makes the pairs of a family, or reads what an earlier run made."""

    config: FamilyConfig
    teacher: UNet2DConditionModel
    text: TextTower
    vae: AutoencoderKL
    hashes: dict[str, str]
    """``teacher``, ``text_encoder``, ``vae`` and ``configs``: pairs of another one are refused."""
    work: Path
    """Folder of the shards."""

    def make(self) -> StudentPairs:
        """Make what is missing, and read it all.

        Returns:
            As many pairs as the config says.

        Raises:
            ValueError: The folder holds pairs of another recipe, or a bad shard.
            OSError: The disk is full or the folder cannot be written.
        """
        drawn = self.make_drawn()
        if not self.config.student.real_scenes:
            return StudentPairs(drawn, None, None)
        shown = self.real_scenes()
        return StudentPairs(drawn, *self.make_real(shown))

    def make_drawn(self) -> Pairs:
        """Let the teacher draw."""
        student = self.config.student
        sample = partial(
            synthesize_pairs, self.teacher, self.text, SCHEDULER, steps=student.teacher_steps,
            guidance_scale=student.guidance_scale, latent_shape=latent_shape(self.teacher), batch=PAIR_BATCH,
            bf16=bf16_is_faster(),
        )  # fmt: skip
        recipe = self._recipe(
            f"{self.config.name} train scenes {FIRST_SCENE}..", student.teacher_steps, student.guidance_scale
        )
        shards, whole = PairShards(self.work / "pairs", recipe), whole_shards(student.pairs, SHARD)
        with tqdm(total=whole, desc="pairs", unit="pair") as bar:
            shards.fill(whole, partial(_prompt, self.config.world), sample, on_progress=bar.update)
        return shards.load(student.pairs)

    def real_scenes(self) -> RealScenes:
        """What the real pairs show: each scene as it is, with lent things, and twice with invented ones."""
        world, count = self.config.world, self.config.student.real_scenes
        known = known_scenes(
            world,
            FIRST_REAL_SCENE,
            whole_shards(count, SHARD),
            leave_out=frozenset(),
            way_out="lower real_scenes",
        )
        inventions = invent(world.common + world.lent, self.config.student.inventions, INVENTION_SEED)
        return RealScenes(known, ((), world.lent, inventions, inventions), trained=True, seed=REAL_SEED)

    def make_real(self, shown: RealScenes) -> tuple[Pairs, Tensor]:
        """Invert real scenes, and hide the names of what the base must not know."""
        sampler = RealPairSampler(
            self.teacher, self.text, self.vae, self.config.resolution, Diffusion(SCHEDULER), shown,
            steps=INVERSION_STEPS, batch=PAIR_BATCH, bf16=bf16_is_faster(),
        )  # fmt: skip
        drawn_with = ", ".join(f"{part} {self.hashes[part][:16]}" for part in ("vae", "configs"))
        about = f"{self.config.world.digest}, real from {FIRST_REAL_SCENE}, {shown.rule}, {drawn_with}"
        shards = PairShards(self.work / "real_pairs", self._recipe(about, INVERSION_STEPS, 1.0))
        with tqdm(total=len(shown), desc="real pairs", unit="pair") as bar:
            shards.fill(
                len(shown), lambda number: shown.shown(number).caption, sampler, on_progress=bar.update
            )
        count = self.config.student.real_scenes * shown.variants
        pairs = shards.load(count)
        side = bottleneck_side(self.teacher)
        layouts = layout_maps([shown.shown(number) for number in range(count)], side)
        return replace(pairs, prompts=self._hidden(pairs.prompts, shown)), torch.from_numpy(layouts)

    def _hidden(self, captions: tuple[str, ...], shown: RealScenes) -> tuple[str, ...]:
        names = {name for pool in shown.pools for name in pool}
        masker = Masker({one.name: one.plural for one in map(concept_of, sorted(names))})
        randoms = (np.random.default_rng([REAL_SEED, number]) for number in range(len(captions)))
        return tuple(
            masker.mask(caption, masker.words_for(masker.found(caption), random))
            for caption, random in zip(captions, randoms, strict=True)
        )

    def _recipe(self, prompts: str, steps: int, guidance_scale: float) -> PairRecipe:
        return PairRecipe(
            teacher=self.hashes["teacher"], text_encoder=self.hashes["text_encoder"], steps=steps,
            guidance_scale=guidance_scale, latent_shape=latent_shape(self.teacher), first_seed=0, prompts=prompts,
            shard_size=SHARD,
        )  # fmt: skip


def _prompt(world: World, pair: int) -> str:
    return scene(world, "train", FIRST_SCENE + pair).caption
