"""A whole family with random weights, small enough for a step in a blink of an eye."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
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
from training.family.folder import Family, load_family, save_json, save_part
from training.family.shapes import SCHEDULER, clip_config, new_unet, new_vae
from training.family.text_tower import new_text_tower, save_text_tower
from training.ladd.config import LaddConfig, parse_ladd_config

NANO = FamilyConfig(
    name="nano",
    resolution=32,
    seed=0,
    world=World(common=("cat", "dog", "pizza", "owl"), rare=("fox",), library_only=("teddy bear",)),
    library=LibraryConfig(count=24),
    vae=VaeConfig(block_out_channels=(8, 8, 8)),
    text=TextConfig(width=16, layers=2, heads=2, embed_dim=16),
    teacher=TeacherConfig(block_out_channels=(32, 64)),
    student=StudentConfig(),
)
SMALL_RUN: dict[str, object] = {
    "pairs": {"count": 12, "held_out": 6, "steps": 2, "batch": 6, "shard_size": 4},
    "retrieval": {"references": 2, "candidates": 4},
    "student": {"lora_rank": 2, "lora_alpha": 2.0, "attention_heads": 2},
    "losses": {"head_width": 8, "adversarial_ramp": 2},
    "optimiser": {"steps": 6, "batch": 4, "warmup": 2, "learning_rate": 1e-3},
    "run": {"bf16": "off", "log_every": 2, "sheet_every": 100, "sheet_rows": 3},
}


def write_nano(path: Path) -> Path:
    """Write the family: its teacher and its student differ, as real ones do."""
    torch.manual_seed(0)
    save_part(new_vae(NANO.vae, NANO.resolution), path / "vae")
    save_part(new_unet(NANO), path / "unet")
    save_part(new_unet(NANO), path / "teacher")
    model_cfg = clip_config(NANO.text, NANO.resolution)
    save_text_tower(path / "text_encoder", new_text_tower(model_cfg), model_cfg)
    save_json(path / "scheduler" / "scheduler_config.json", dict(SCHEDULER))
    save_json(path / "family.json", {"name": "nano", "resolution": NANO.resolution, "config": asdict(NANO)})
    return path


@pytest.fixture(scope="session")
def family_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nano(tmp_path_factory.mktemp("nano"))


@pytest.fixture
def family(family_path: Path) -> Family:
    return load_family(family_path)


@pytest.fixture
def config(family_path: Path, tmp_path: Path) -> LaddConfig:
    return parse_ladd_config({"family": str(family_path), "work_dir": str(tmp_path / "work"), **SMALL_RUN}, "test")
