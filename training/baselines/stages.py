"""The baselines of a family, each skipped when its folder is there."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from training.baselines.config import BaselinesConfig
from training.baselines.lcm import draw_latents_with_lcm, train_lcm
from training.baselines.rdm import EmbeddedLibrary, embed_library, train_rdm
from training.data.splits import scenes
from training.data.world import World
from training.family.folder import freeze, read_json, read_settings, save_part, world_of
from training.family.grid import save_grid
from training.family.text_tower import load_text_tower
from training.family.weight_files import DIFFUSERS_WEIGHTS
from training.ladd.diffusion import Diffusion
from training.ladd.library import encode_scenes
from training.ladd.pairs import noise_of_seeds
from training.ladd.synthesize import sample_latents
from training.models.split_unet import latent_shape

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch import Tensor

    from training.data.scene import Scene
    from training.family.text_tower import TextTower

CHUNK = 250
SHOWN = 48
GRID_STEPS = {"lcm": 4, "rdm": 20}
logger = logging.getLogger(__name__)


class BaselinesRun:
    """What both trainings share is made when one first asks for it.

    Args:
        config: Of both.
        family: The family's folder: teacher, autoencoder and text tower.
        work: Checkpoints and grids.
    """

    def __init__(self, config: BaselinesConfig, family: Path, work: Path) -> None:
        self.config, self.family, self.work = config, family, work
        self.settings = read_settings(family)
        self.scheduler = read_json(family / "scheduler" / "scheduler_config.json")
        self.resolution = int(self.settings["resolution"])

    def train(self, name: str) -> None:
        """Train one, unless its folder is there."""
        if (self.family / name / DIFFUSERS_WEIGHTS).exists():
            logger.info("%s: there already", self.family / name)
            return
        self.work.mkdir(parents=True, exist_ok=True)
        trained = {"lcm": self._train_lcm, "rdm": self._train_rdm}[name]()
        save_part(trained, self.family / name)

    @cached_property
    def world(self) -> World:
        """The family's concepts."""
        return world_of(self.settings, self.family)

    @cached_property
    def text(self) -> TextTower:
        """The frozen text tower."""
        return load_text_tower(self.family / "text_encoder")

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The frozen autoencoder."""
        from diffusers import AutoencoderKL

        model: AutoencoderKL = freeze(AutoencoderKL, self.family / "vae")
        return model

    @cached_property
    def teacher(self) -> UNet2DConditionModel:
        """The frozen teacher."""
        from diffusers import UNet2DConditionModel

        model: UNet2DConditionModel = freeze(UNet2DConditionModel, self.family / "teacher")
        return model

    @cached_property
    def shown(self) -> list[Scene]:
        """The training scenes."""
        return scenes(self.world, "train", self.config.scenes)

    @cached_property
    def latents(self) -> Tensor:
        """(N, c, h, w) float32 of the training scenes."""
        starts = tqdm(range(0, len(self.shown), CHUNK), desc="latents", unit="batch")
        parts = [
            encode_scenes(self.vae, self.shown[first : first + CHUNK], self.resolution) for first in starts
        ]
        return torch.cat(parts)

    @cached_property
    def library(self) -> EmbeddedLibrary:
        """The bundle's library, as an RDM sees it."""
        count = int(self.settings["config"]["library"]["count"])
        return embed_library(self.text, scenes(self.world, "library", count), self.resolution)

    @property
    def captions(self) -> tuple[str, ...]:
        """Of the training scenes."""
        return tuple(one.caption for one in self.shown)

    def _train_lcm(self) -> UNet2DConditionModel:
        prompts, noise = self._asked()
        embeds = self.text.encode(prompts)[0]

        def sample(lcm: UNet2DConditionModel, step: int) -> None:
            latents = draw_latents_with_lcm(lcm, self.scheduler, noise, embeds, steps=GRID_STEPS["lcm"])
            self._save(latents, f"lcm_{step:06d}.png")

        return train_lcm(
            self.config.lcm,
            self.teacher,
            self.text,
            self.scheduler,
            self.latents,
            self.captions,
            self.work,
            sample,
        )

    def _train_rdm(self) -> UNet2DConditionModel:
        config = self.config.rdm
        seen = self.library.conditioning(self.text, self.captions, config.references).half()
        prompts, noise = self._asked()
        asked = self.library.conditioning(self.text, prompts, config.references)

        @torch.no_grad()  # or the graph of all its steps fills 16 GiB
        def sample(rdm: UNet2DConditionModel, step: int) -> None:
            embeds = torch.cat([torch.zeros_like(asked), asked])
            latents = sample_latents(
                rdm, self.scheduler, embeds, noise, steps=GRID_STEPS["rdm"], guidance_scale=3.0
            )
            self._save(latents, f"rdm_{step:06d}.png")

        return train_rdm(
            config, self.teacher, Diffusion(self.scheduler), self.latents, seen, self.work, sample
        )

    def _asked(self) -> tuple[list[str], Tensor]:
        """Held-out prompts for a grid, and their noise."""
        prompts = [one.caption for one in scenes(self.world, "validation", SHOWN)]
        return prompts, noise_of_seeds(range(SHOWN), latent_shape(self.teacher))

    @torch.no_grad()
    def _save(self, latents: Tensor, name: str) -> None:
        save_grid(
            self.work / name, self.vae.decode(latents / self.vae.config.scaling_factor).sample, columns=12
        )
