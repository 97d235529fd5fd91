"""A family's folder: what is finished is left alone, and what was made otherwise is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from training.family.config import FamilyConfig, LibraryConfig
from training.family.folder import DIFFUSERS_WEIGHTS
from training.family.random_family import nano_config
from training.family.stages import PART_FILES, FamilyRun, train_family


@pytest.fixture
def folder(nano_family: Path, tmp_path: Path) -> Path:
    """A whole family of one's own."""
    return Path(shutil.copytree(nano_family, tmp_path / "family"))


def with_other_numbers() -> FamilyConfig:
    """The nano family's shapes, but another length of training and another library."""
    config = nano_config()
    return replace(config, library=LibraryConfig(count=7), teacher=replace(config.teacher, steps=3, batch=2))


def test_a_finished_family_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    """Adapter and bundle were made with the library that family.json tells of."""
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    train_family(with_other_numbers(), folder, tmp_path / "work")
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before
    assert not (tmp_path / "work").exists()


def test_a_stage_that_runs_says_what_it_is_made_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((folder / "family.json").read_text())
    (folder / "family.json").write_text(json.dumps({**settings, "scores": {"vae": {"psnr_db": 30.0}}}))
    (folder / "unet" / DIFFUSERS_WEIGHTS).unlink()
    monkeypatch.setattr(FamilyRun, "train_student", lambda run: {"all": 0.51239})
    train_family(with_other_numbers(), folder, tmp_path / "work")
    written = json.loads((folder / "family.json").read_text())
    assert written["library"]["count"] == 7
    assert written["config"]["teacher"]["steps"] == 3
    assert written["scores"] == {"vae": {"psnr_db": 30.0}, "student": {"all": 0.5124}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, resolution=64), r"\(resolution: 32 there, 64 here\)"),
        (lambda c: replace(c, world=replace(c.world, seed=1)), r"\(world\.seed: 0 there, 1 here\)"),
        (
            lambda c: replace(c, world=replace(c.world, rare=("owl",))),
            r"world\.rare: \['tiger'\] there, \['owl'\] here",
        ),
        (
            lambda c: replace(c, vae=replace(c.vae, latent_channels=8)),
            r"vae\.latent_channels: 4 there, 8 here",
        ),
        (lambda c: replace(c, text=replace(c.text, width=32)), r"text\.width: 16 there, 32 here"),
        (
            lambda c: replace(c, teacher=replace(c.teacher, block_out_channels=(32,))),
            r"teacher\.block_out_channels: \[32, 64\] there, \[32\] here",
        ),
    ],
)
def test_parts_of_another_world_or_shape_are_refused(
    folder: Path, tmp_path: Path, change: Callable[[FamilyConfig], FamilyConfig], message: str
) -> None:
    (folder / "unet" / DIFFUSERS_WEIGHTS).unlink()  # so that a stage would run
    before = (folder / "family.json").read_bytes()
    with pytest.raises(ValueError, match=f"{message}.*; use another --out, or delete this folder"):
        train_family(change(nano_config()), folder, tmp_path / "work")
    assert (folder / "family.json").read_bytes() == before


def test_shapes_of_parts_that_are_not_there_yet_may_change(folder: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "teacher", "unet"):
        (folder / PART_FILES[part]).unlink()
    config = nano_config()
    train_family(replace(config, text=replace(config.text, width=32)), folder, tmp_path / "work", until="vae")
    with pytest.raises(ValueError, match="holds vae of another config"):
        train_family(
            replace(config, vae=replace(config.vae, latent_channels=8)), folder, tmp_path, until="vae"
        )


def test_parts_that_nobody_knows_the_origin_of_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "family.json").unlink()
    with pytest.raises(ValueError, match=r"holds .*vae.* but no family\.json"):
        train_family(nano_config(), folder, tmp_path / "work")
