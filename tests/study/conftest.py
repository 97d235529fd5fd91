"""A family of random weights with an adapter and a judge, and a study of it that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.conftest import write_family
from training.evaluation.judge import Judge
from training.family.random_family import NANO_WORLD
from training.study.__main__ import main

RUN = """
family = "unused"
work_dir = "unused"

[retrieval]
references = 2
candidates = 4
reference_caption = "empty"

[masking]
share = 0.5
[student]
attention_heads = 2

[pairs]
steps = 2
batch = 6
shard_size = 4

[optimiser]
batch = 4
"""
STUDY = """
ladd = "{run}"
work_dir = "{work}"
prompts = 4

[questions]
{questions}

[pairs]
count = 8
held_out = 4

[real]
scenes = 4
lent_variants = 1
held_out = 4
steps = 1
library = 8

[alignment]
steps = 3
batch = 4

[run]
bf16 = "off"
"""
EVERY_QUESTION = """
reference_timestep = [0, 50]
reference_caption = ["caption"]
encoder = ["student", "teacher"]
reference_pool = [2]
queries = ["phrases"]
masking_share = [0.5, 0.0]
weighing = ["one"]
"""


@pytest.fixture(scope="session")
def family_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_family(tmp_path_factory.mktemp("family"))
    Judge.untrained(NANO_WORLD, resolution=32).save(path / "judge.safetensors")
    return path


@pytest.fixture(scope="session")
def study(family_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that asked every question once: its config, what was measured, and what was written."""
    folder = tmp_path_factory.mktemp("study")
    write_config(folder, EVERY_QUESTION)
    assert main(arguments(folder, family_path)) == 0
    return folder


def write_config(folder: Path, questions: str, **replaced: str) -> Path:
    (folder / "ladd.toml").write_text(RUN, encoding="utf-8")
    text = STUDY.format(run=folder / "ladd.toml", work=folder / "work", questions=questions)
    for old, new in replaced.items():
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def arguments(folder: Path, family_path: Path) -> list[str]:
    names = {"--family": family_path, "--config": folder / "study.toml", "--out": folder / "docs"}
    return [str(word) for pair in names.items() for word in pair]
