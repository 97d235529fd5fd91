"""Writes a family of random weights: every file of a real one, small, in a second, for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.world import World
from training.family.config import (
    FamilyConfig,
    LibraryConfig,
    StudentConfig,
    TeacherConfig,
    TextConfig,
    VaeConfig,
)
from training.family.folder import save_part
from training.family.shapes import clip_config, new_unet, new_vae
from training.family.stages import FamilyRun
from training.family.text_tower import new_text_tower, save_text_tower

NANO_WORLD = World(common=("cat", "dog", "apple", "bus"), rare=("tiger",), library_only=("fox",))


def nano_config(seed: int = 0) -> FamilyConfig:
    """The nano family: two resolutions, 8x8 latents, pictures of 32 pixels."""
    return FamilyConfig(
        name="nano",
        resolution=32,
        seed=seed,
        world=NANO_WORLD,
        library=LibraryConfig(count=24),
        vae=VaeConfig(block_out_channels=(8, 16, 16), latent_channels=4),
        text=TextConfig(width=16, layers=2, heads=2, embed_dim=16, patch_size=8),
        teacher=TeacherConfig(block_out_channels=(32, 64), attention_head_dim=16, latent_cache=64),
        student=StudentConfig(pairs=16, teacher_steps=2),
    )


def random_family(path: Path, *, size: str = "nano", seed: int = 0) -> Path:
    """Write a family with random weights.

    Args:
        path: Its folder; it is made.
        size: ``"nano"``.
        seed: Of the weights; teacher and student differ.

    Returns:
        The path.

    Raises:
        ValueError: Another size.
    """
    if size != "nano":
        raise ValueError(f"size is {size!r}; allowed is 'nano'")
    config = nano_config(seed)
    FamilyRun(config, path, path / "work").describe()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = new_vae(config.vae, config.resolution)
        vae.register_to_config(scaling_factor=0.18215)  # not 1: whoever forgets it shall be noticed
        save_part(vae, path / "vae")
        save_part(new_unet(config), path / "unet")
        save_part(new_unet(config), path / "teacher")
        model_cfg = clip_config(config.text, config.resolution)
        save_text_tower(path / "text_encoder", new_text_tower(model_cfg).eval(), model_cfg)
    return path
