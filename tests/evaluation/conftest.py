"""A judge of a tiny world, trained in seconds, and the scenes that it is asked about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from training.data.scene import Scene
from training.data.splits import scenes
from training.data.world import World
from training.evaluation.judge import Judge
from training.evaluation.judge_training import train_judge
from training.family.folder import Family, family_hashes, load_family
from training.family.random_family import random_family
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterMetadata, save_adapter
from training.models.lora import add_lora, lora_parameters, lora_state

TINY_WORLD = World(
    common=("cat", "apple", "bus", "tulip"), rare=("frog",), library_only=("key", "pear", "owl")
)
RESOLUTION = 32


@pytest.fixture(scope="session")
def tiny_world() -> World:
    return TINY_WORLD


@pytest.fixture(scope="session")
def asked() -> list[Scene]:
    """Scenes of the split that judges are measured on."""
    return scenes(TINY_WORLD, "validation", 64)


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Trained for a few seconds: not good, but far from blind. Read from the file that its training wrote."""
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    with torch.random.fork_rng(devices=[]):
        train_judge(TINY_WORLD, path, resolution=RESOLUTION, steps=350, held_out=32)
    return Judge.load(path)


@pytest.fixture
def judge_file(judge: Judge, tmp_path: Path) -> Path:
    judge.save(tmp_path / "judge.safetensors")
    return tmp_path / "judge.safetensors"


@pytest.fixture(scope="session")
def family_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano family whose adapter and LoRA-only control do change pictures. Never write into it."""
    return write_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="session")
def family(family_path: Path) -> Family:
    return load_family(family_path)


def write_family(path: Path) -> Path:
    """A nano family with all that the results draw with and measure by, random, strong enough to see."""
    random_family(path)
    for baseline in ("lcm", "rdm"):
        shutil.copytree(path / "teacher", path / baseline)
    shutil.copytree(path / "text_encoder", path / "metric_clip")
    for seed, name in enumerate(("adapter", "lora_only")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = load_family(path).unet
            add_lora(unet, rank=2, alpha=2.0)
            for parameter in lora_parameters(unet):
                torch.nn.init.normal_(parameter, std=0.1)
            adapter = None if name == "lora_only" else HSpaceAdapter(64, num_attention_heads=4)
            if adapter is not None:
                torch.nn.init.normal_(adapter.proj_out.weight, std=0.5)
            save_adapter(path / f"{name}.safetensors", adapter, lora_state(unet), metadata_of(path, name))
    return path


def metadata_of(path: Path, name: str) -> AdapterMetadata:
    return AdapterMetadata(
        family="nano",
        base_hashes=family_hashes(path),
        rank=2,
        alpha=2.0,
        channels=64,
        num_attention_heads=4,
        tokens=16,
        references=3,
        retrieval=name == "adapter",
    )
