"""Real pairs: pictures that the teacher did not make, with the noise that its flow leads back to.

A scene of things that the teacher knows is encoded and inverted (`training.ladd.inversion`). The noise found holds its
layout, so it also fits the scene with other things in the same places (`training.data.substitute`): things that
neither teacher nor base can draw, and whose pictures only the references show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.data.splits import split_of
from training.data.substitute import substitute
from training.ladd.inversion import invert
from training.ladd.library import encode_scenes
from training.ladd.pairs import NO_SEED, Pairs
from training.ladd.scene_search import find_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training.data.scene import Scene
    from training.data.world import World
    from training.family.text_tower import TextTower
    from training.ladd.diffusion import Diffusion

SUBSTITUTIONS_TRIED = 64  # a small pool may have nothing for a scene of one thing


@dataclass(frozen=True)
class RealScenes:
    """Scenes that the teacher knows, each in some variants: pair i is variant i % variants of scene i // variants."""

    scenes: tuple[Scene, ...]
    pools: tuple[tuple[str, ...], ...]
    """Per variant, the things that take the places of others; empty: the scene as it is."""
    trained: bool
    """Whether every variant must belong to the train split; held-out ones have too few things to choose a split."""
    seed: int
    leave_out: frozenset[str] = frozenset()
    """Captions that no pair may have."""

    @property
    def variants(self) -> int:
        """Pairs of one noise."""
        return len(self.pools)

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.scenes) * self.variants

    @property
    def rule(self) -> str:
        """What decides which pair shows what, but for the scenes themselves."""
        names = hashlib.sha256(repr(self.pools).encode()).hexdigest()[:16]
        return f"{self.variants} variants, trained: {self.trained}, seed {self.seed}, things {names}"

    def shown(self, number: int) -> Scene:
        """What a pair shows, always the same: the scene itself where no other belongs to the train split."""
        place, variant = divmod(number, self.variants)
        if not self.pools[variant]:
            return self.scenes[place]
        random = np.random.default_rng([self.seed, number])
        for _ in range(SUBSTITUTIONS_TRIED):
            one = substitute(random, self.scenes[place], self.pools[variant])
            if not self.trained or (
                split_of(one.composition) == "train" and one.caption not in self.leave_out
            ):
                return one
        return self.scenes[place]


def known_scenes(
    world: World, first: int, count: int, *, leave_out: frozenset[str], way_out: str
) -> tuple[Scene, ...]:
    """Find training scenes of common things alone: those that a teacher draws well, and so inverts well.

    Args:
        world: The family's.
        first: Index of the first scene to look at.
        count: Scenes wanted.
        leave_out: Captions that training must not see.
        way_out: What to do where there are too few.

    Raises:
        ValueError: Too few are left.
    """
    common = set(world.common)
    return find_scenes(
        world,
        first,
        count,
        wanted=lambda one: common.issuperset(one.concepts) and one.caption not in leave_out,
        what="scenes of common things",
        way_out=way_out,
    )


class RealPairSampler:
    """Makes real pairs by number; what `PairShards.fill` calls.

    Args:
        teacher: Whose noise is looked for, frozen.
        text: The family's text tower.
        vae: The family's autoencoder.
        resolution: Side of the pictures, in pixels.
        diffusion: The family's schedule.
        scenes: What the pairs show.
        steps: Of the inversion.
        batch: Scenes at a time.
        bf16: Invert under bfloat16 autocast.
    """

    def __init__(
        self,
        teacher: UNet2DConditionModel,
        text: TextTower,
        vae: AutoencoderKL,
        resolution: int,
        diffusion: Diffusion,
        scenes: RealScenes,
        *,
        steps: int,
        batch: int,
        bf16: bool,
    ) -> None:
        self.teacher, self.text, self.vae, self.resolution = teacher, text, vae, resolution
        self.diffusion, self.scenes = diffusion, scenes
        self.steps, self.batch, self.bf16 = steps, batch, bf16

    def __call__(self, prompts: Sequence[str], numbers: Sequence[int]) -> Iterator[Pairs]:
        """Make the pairs of some numbers.

        Args:
            prompts: Their prompts, as `RealScenes.shown` says them.
            numbers: Which pairs.

        Yields:
            Batches in the same order, without seeds.
        """
        size = self.batch * self.scenes.variants
        for first in range(0, len(numbers), size):
            some = list(numbers[first : first + size])
            places = [number // self.scenes.variants for number in some]
            noise = self._invert(list(dict.fromkeys(places)))
            shown = [self.scenes.shown(number) for number in some]
            latents = encode_scenes(self.vae, shown, self.resolution)
            seeds = torch.full((len(some),), NO_SEED, dtype=torch.int64)
            found = torch.stack([noise[place] for place in places])
            yield Pairs(tuple(prompts[first : first + size]), seeds, latents, found)

    def _invert(self, places: list[int]) -> dict[int, Tensor]:
        originals = [self.scenes.scenes[place] for place in places]
        device = self.teacher.device
        with torch.no_grad():
            embeds, _ = self.text.encode([one.caption for one in originals])
        latents = encode_scenes(self.vae, originals, self.resolution).to(device)
        noise = invert(self.teacher, self.diffusion, latents, embeds, steps=self.steps, bf16=self.bf16)
        return dict(zip(places, noise.cpu(), strict=True))
