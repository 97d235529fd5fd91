"""The text stage's grid: what captions find, the nearest first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.family.folder import load_family
from training.family.nearest import image_keys, nearest_pictures, save_nearest
from training.family.random_family import NANO_WORLD, nano_config
from training.family.scene_cache import SceneCache, cache_scenes
from training.family.text import train_text_tower


@pytest.fixture
def held_out(tmp_path: Path) -> SceneCache:
    return cache_scenes(tmp_path / "scenes", NANO_WORLD, "validation", 24, 32)


def test_the_nearest_come_first_and_none_is_nearer(nano_family: Path, held_out: SceneCache) -> None:
    tower = load_family(nano_family).text
    found = nearest_pictures(tower, held_out)
    _, texts = tower.encode(list(held_out.captions[:12]))
    cosines = texts @ image_keys(tower, held_out, len(held_out)).T  # (12, 24)
    expected = torch.sort(cosines, dim=1, descending=True).values[:, :4]
    assert found.shape == (4, 12)
    assert torch.equal(cosines.gather(1, found.T), expected)


def test_the_grid_shows_a_caption_s_own_picture_above_what_it_finds(
    nano_family: Path, held_out: SceneCache, tmp_path: Path
) -> None:
    tower = load_family(nano_family).text
    save_nearest(tmp_path / "grid.png", tower, held_out)
    with Image.open(tmp_path / "grid.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (5 * 32, 12 * 32, 3)
    tiles = sheet.reshape(5, 32, 12, 32, 3).swapaxes(1, 2)  # (row, column, H, W, 3)
    found = nearest_pictures(tower, held_out)
    for column in range(12):
        assert np.array_equal(tiles[0, column], held_out.pixels[column].transpose(1, 2, 0))
        assert np.array_equal(tiles[2, column], held_out.pixels[int(found[1, column])].transpose(1, 2, 0))


def test_few_scenes_make_a_small_grid(nano_family: Path, tmp_path: Path) -> None:
    few = cache_scenes(tmp_path / "scenes", NANO_WORLD, "validation", 3, 32)
    save_nearest(tmp_path / "grid.png", load_family(nano_family).text, few)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (3 * 32, 4 * 32)


def test_the_text_stage_leaves_a_grid(held_out: SceneCache, tmp_path: Path) -> None:
    config = nano_config()
    config = replace(config, text=replace(config.text, steps=2, batch=4))
    scenes = cache_scenes(tmp_path / "scenes", NANO_WORLD, "train", 16, 32)
    tower = train_text_tower(config, scenes, held_out, tmp_path)
    assert not tower.training
    with Image.open(tmp_path / "text_000002.png") as picture:
        assert picture.size == (12 * 32, 5 * 32)
