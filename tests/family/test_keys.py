"""Tuned keys: the conditioning stays, and a made-up name finds the caption that has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from training.family.folder import load_family
from training.family.keys import tune_keys
from training.family.random_family import NANO_WORLD, nano_config
from training.family.scene_cache import cache_scenes
from training.family.text_tower import TextTower


def hit_share(tower: TextTower) -> float:
    """How often a phrase with a new word finds, of six captions alike but for that word, its own."""
    words = ("blick", "dax", "fep", "wug", "zorp", "toma")
    _, captions = tower.encode([f"a {word} on a blue background" for word in words])
    _, phrases = tower.encode([f"a {word}" for word in words])
    return float((phrases @ captions.T).argmax(dim=1).eq(torch.arange(len(words))).float().mean())


def test_only_the_keys_change_and_they_learn_what_a_name_is(nano_family: Path, tmp_path: Path) -> None:
    config = nano_config()
    text = replace(config.text, keys_steps=60, keys_batch=24, learning_rate=1e-2)
    family = load_family(nano_family)
    scenes = cache_scenes(tmp_path, NANO_WORLD, "train", 200, family.resolution)
    before, keys_before = family.text.encode(["two cats on red"])
    share_before = hit_share(family.text)
    tune_keys(replace(config, text=text), family.text, scenes, tmp_path)
    after, keys_after = family.text.encode(["two cats on red"])
    assert torch.equal(before, after)
    assert not torch.equal(keys_before, keys_after)
    assert hit_share(family.text) >= max(share_before, 0.5)
    assert not any(p.requires_grad for p in family.text.parameters())
