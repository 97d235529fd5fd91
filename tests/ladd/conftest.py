"""A whole family with random weights, and a run's config that is small enough for a step in a blink of an eye."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.family.folder import Family, load_family
from training.family.random_family import random_family
from training.ladd.config import LaddConfig
from training.ladd.config_file import parse_ladd_config
from training.ladd.setup import Parts, assemble
from training.ladd.trainer import Trainer
from training.parallel import Processes

CPU = torch.device("cpu")
SMALL_RUN: dict[str, object] = {
    "pairs": {"count": 12, "held_out": 6, "steps": 2, "batch": 6, "shard_size": 4},
    "real": {"scenes": 4, "lent_variants": 1, "held_out": 4, "steps": 1, "library": 12},
    "retrieval": {"references": 2, "candidates": 4, "reference_caption": "caption"},
    "student": {"lora_rank": 2, "lora_alpha": 2.0, "attention_heads": 2},
    "losses": {"head_width": 8, "adversarial_ramp": 2},
    "optimiser": {"steps": 6, "batch": 4, "warmup": 2, "learning_rate": 1e-3},
    "run": {"bf16": "off", "log_every": 2, "sheet_every": 100, "sheet_rows": 3},
}


@pytest.fixture(scope="session")
def family_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def family(family_path: Path) -> Family:
    return load_family(family_path)


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of pairs for all tests: they are made once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def config(family_path: Path, work_dir: Path) -> LaddConfig:
    return parse_ladd_config({"family": str(family_path), "work_dir": str(work_dir), **SMALL_RUN}, "test")


@pytest.fixture
def parts(config: LaddConfig, family_path: Path) -> Parts:
    return assemble(config, family_path, retrieves=True, device=CPU)


@pytest.fixture
def new_trainer(config: LaddConfig, family_path: Path, tmp_path: Path) -> Callable[..., Trainer]:
    """Make trainers on one run folder, each with weights of its own."""

    def make(*, folder: str = "run", retrieves: bool = True, **run: object) -> Trainer:
        changed = replace(config, run=replace(config.run, **run))
        made = assemble(changed, family_path, retrieves=retrieves, device=CPU)
        return Trainer(changed, made, tmp_path / folder, processes=Processes(), retrieves=retrieves)

    return make
