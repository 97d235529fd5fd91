"""What the teacher is trained on: the maps say what stands where, the timesteps lean to noise, the loss falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.splits import scene, scenes
from training.family import student_pairs
from training.family.folder import load_family, load_teacher
from training.family.latents import LatentCache, cache_latents, concept_maps
from training.family.random_family import NANO_WORLD, nano_config
from training.family.scene_cache import cache_scenes
from training.family.shapes import SCHEDULER, new_unet
from training.family.teacher import Captions, SemanticUNet, draw_timesteps, teacher_loss


def test_the_concept_map_holds_what_stands_at_every_centre() -> None:
    shown_ones = list(scenes(NANO_WORLD, "train", 40))
    for shown, cells in zip(shown_ones, concept_maps(shown_ones, NANO_WORLD, 16), strict=True):
        for thing in shown.placed:
            assert cells[int(thing.y * 16), int(thing.x * 16)] == 1 + NANO_WORLD.names.index(thing.concept)
        assert (cells == 0).any()


def test_timesteps_cover_everything_and_lean_to_noise() -> None:
    drawn = draw_timesteps(20000, 1000, 0.5, torch.Generator().manual_seed(0))
    assert drawn.min() < 20
    assert drawn.max() == 999
    assert 560 < drawn.float().mean() < 605  # between 499.5 (none leans) and 666 (all lean)


def test_caches_are_drawn_once_and_read_again(nano_family: Path, tmp_path: Path) -> None:
    family = load_family(nano_family)
    shown = cache_scenes(tmp_path, NANO_WORLD, "train", 70, family.resolution)
    first = cache_latents(tmp_path, family.vae, shown, NANO_WORLD)
    stamp = (tmp_path / "latents.npy").stat().st_mtime_ns
    again = cache_latents(
        tmp_path, family.vae, cache_scenes(tmp_path, NANO_WORLD, "train", 70, 32), NANO_WORLD
    )
    assert (tmp_path / "latents.npy").stat().st_mtime_ns == stamp
    assert torch.equal(first.latents, again.latents)
    assert first.latents.shape == (70, 4, 8, 8)
    assert shown.captions[7] == scene(NANO_WORLD, "train", 7).caption
    assert np.isfinite(first.latents.numpy()).all()


def test_a_few_steps_lower_the_loss(nano_family: Path) -> None:
    family, config = load_family(nano_family), nano_config()
    torch.manual_seed(0)
    cache = LatentCache(
        torch.randn(16, 4, 8, 8).half(), torch.zeros(16, 8, 8, dtype=torch.int16)[:, ::2, ::2]
    )
    model = SemanticUNet(new_unet(config), len(config.world.names))
    tokens = Captions(*family.text.tokenize(["a cat"] * 16 + [""]))
    from diffusers import DDIMScheduler

    alphas_cumprod = DDIMScheduler.from_config(SCHEDULER).alphas_cumprod
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = teacher_loss(
            config, model, family.text, tokens, cache, alphas_cumprod, torch.Generator().manual_seed(0)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("wanted", "shards"), [(3, 1), (6, 2), (8, 2)])
def test_pairs_are_made_once_and_as_many_as_are_asked_for(
    nano_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, shards: int
) -> None:
    monkeypatch.setattr(student_pairs, "SHARD", 4)
    config = nano_config()
    config = replace(
        config, student=replace(config.student, pairs=wanted, teacher_steps=1, guidance_scale=1.0)
    )
    family, teacher = load_family(nano_family), load_teacher(nano_family)
    hashes = {"teacher": "t", "text_encoder": "x", "vae": "v"}
    maker = student_pairs.PairMaker(config, teacher, family.text, family.vae, hashes, tmp_path)
    pairs = maker.make_drawn()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "pairs").glob("*.tar")}
    again = maker.make_drawn()
    assert len(pairs) == wanted
    assert pairs.seeds.tolist() == list(range(wanted))
    first = student_pairs.FIRST_SCENE
    assert list(pairs.prompts) == [one.caption for one in scenes(config.world, "train", wanted, first)]
    assert torch.equal(pairs.latents, again.latents)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pairs").glob("*.tar")} == stamps
    assert len(stamps) == shards
