"""A judge of a tiny world, trained in seconds, and the scenes that it is asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data.scene import Scene
from training.data.splits import scenes
from training.data.world import World
from training.evaluation.judge import Judge
from training.evaluation.judge_training import train_judge

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
        train_judge(TINY_WORLD, path, resolution=RESOLUTION, steps=150, held_out=32)
    return Judge.load(path)


@pytest.fixture
def judge_file(judge: Judge, tmp_path: Path) -> Path:
    judge.save(tmp_path / "judge.safetensors")
    return tmp_path / "judge.safetensors"
