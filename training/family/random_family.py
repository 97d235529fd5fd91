"""Writes a family of random weights: every file of a real one. The nano one in a second; SD-Turbo's in exact shapes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from training.data.world import World
from training.family.config import (
    FamilyConfig,
    LibraryConfig,
    StudentConfig,
    TeacherConfig,
    TextConfig,
    VaeConfig,
)
from training.family.folder import SETTINGS_FILE, save_json, save_part
from training.family.random_adapter import random_adapter
from training.family.sd_turbo import SCHEDULER, SIZES, BaseShapes
from training.family.shapes import clip_config, new_unet, new_vae
from training.family.stages import FamilyRun
from training.family.text_tower import new_text_only_tower, new_text_tower, save_text_tower
from training.family.weight_files import DIFFUSERS_WEIGHTS

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
        size: ``"nano"``, or a key of `training.family.sd_turbo.SIZES`: ``"sd-turbo"`` (2.6 GB on the disk, some 4 GB
            of memory) or ``"sd-turbo-small"``.
        seed: Of the weights.

    Returns:
        The path.

    Raises:
        ValueError: Another size.
        OSError: The disk is full or the folder cannot be written.
    """
    if size not in ("nano", *SIZES):
        raise ValueError(f"size is {size!r}; allowed are {', '.join(('nano', *SIZES))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if size == "nano":
            _write_nano(path, nano_config(seed))
        else:
            _write_base(path, SIZES[size])
    return path


def _write_nano(path: Path, config: FamilyConfig) -> None:
    """Teacher and student differ."""
    FamilyRun(config, path, path / "work").describe()
    vae = new_vae(config.vae, config.resolution)
    vae.register_to_config(scaling_factor=0.18215)  # not 1: whoever forgets it shall be noticed
    save_part(vae, path / "vae")
    save_part(new_unet(config), path / "unet")
    save_part(new_unet(config), path / "teacher")
    model_cfg = clip_config(config.text, config.resolution)
    save_text_tower(path / "text_encoder", new_text_tower(model_cfg).eval(), model_cfg)


def _write_base(path: Path, shapes: BaseShapes) -> None:
    """One part after the other, so that only one is ever in memory; teacher and student are the same file."""
    with _float16_weights():
        save_part(AutoencoderKL(**shapes.vae), path / "vae")
        save_part(UNet2DConditionModel(**shapes.unet), path / "unet")
        tower = new_text_only_tower(shapes.clip)
        save_text_tower(path / "text_encoder", tower, shapes.clip)
    (path / "teacher").mkdir(parents=True, exist_ok=True)
    for name in ("config.json", DIFFUSERS_WEIGHTS):
        _link(path / "unet" / name, path / "teacher" / name)
    save_json(path / "scheduler" / "scheduler_config.json", SCHEDULER)
    save_json(path / SETTINGS_FILE, {"name": shapes.name, "resolution": shapes.resolution})
    random_adapter(path)


@contextmanager
def _float16_weights() -> Iterator[None]:
    """Make weights as they are stored: half the memory of float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _link(file: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    other.unlink(missing_ok=True)
    try:
        os.link(file, other)
    except OSError:
        shutil.copyfile(file, other)
