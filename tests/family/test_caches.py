"""Scenes and latents on the disk: whole or not there, and never those of something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import AutoencoderKL

from training.data.splits import scene
from training.family import scene_cache
from training.family.folder import freeze
from training.family.latents import cache_latents
from training.family.random_family import NANO_WORLD, random_family
from training.family.scene_cache import SceneCache, cache_scenes

COUNT = 8


@pytest.fixture
def vae(nano_family: Path) -> AutoencoderKL:
    return freeze(AutoencoderKL, nano_family / "vae")


def cached(folder: Path, count: int = COUNT) -> SceneCache:
    return cache_scenes(folder, NANO_WORLD, "train", count, 32)


def test_scenes_of_another_world_or_size_are_refused(tmp_path: Path) -> None:
    cached(tmp_path)
    with pytest.raises(ValueError, match=r"holds scenes of another recipe \(resolution: 32 there, 16 here\)"):
        cache_scenes(tmp_path, NANO_WORLD, "train", COUNT, 16)
    with pytest.raises(ValueError, match=r"scenes of another recipe \(world.*use another work folder"):
        cache_scenes(tmp_path, replace(NANO_WORLD, seed=1), "train", COUNT, 32)
    assert len(cached(tmp_path, 9)) == 9  # another number lies beside them


def test_a_stop_while_drawing_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = scene_cache.draw, []

    def stopping(*arguments: Any) -> np.ndarray:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(draw(*arguments))
        return drawn[-1]

    with monkeypatch.context() as patched:
        patched.setattr(scene_cache, "draw", stopping)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert cached(tmp_path).captions[7] == scene(NANO_WORLD, "train", 7).caption


def test_scenes_that_do_not_say_what_they_are_of_are_drawn_anew(tmp_path: Path) -> None:
    whole = np.array(cached(tmp_path).pixels)
    (tmp_path / f"train_{COUNT}.json").unlink()
    np.save(tmp_path / f"train_{COUNT}.npy", np.zeros_like(whole))
    assert np.array_equal(cached(tmp_path).pixels, whole)


def test_captions_that_were_cut_are_named(tmp_path: Path) -> None:
    captions = cached(tmp_path).captions
    (tmp_path / f"train_{COUNT}.txt").write_text("\n".join(captions[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"train_{COUNT}\.txt: 7 captions, 8 are expected.*delete .*\.json"):
        cached(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda vae: vae.register_to_config(scaling_factor=0.5),
            r"\(scaling_factor: [\d.]+ there, 0\.5 here\)",
        ),
        (lambda vae: vae.decoder.conv_out.bias.data.add_(1.0), r"\(vae: "),
    ],
)
def test_latents_of_another_autoencoder_are_refused(
    vae: AutoencoderKL, tmp_path: Path, change: Callable[[AutoencoderKL], object], message: str
) -> None:
    shown = cached(tmp_path / "scenes")
    cache_latents(tmp_path, vae, shown, NANO_WORLD)
    change(vae)
    with pytest.raises(ValueError, match=f"holds latents of another recipe {message}.*delete latents.json"):
        cache_latents(tmp_path, vae, shown, NANO_WORLD)


def test_latents_of_other_scenes_are_refused(vae: AutoencoderKL, tmp_path: Path) -> None:
    cache_latents(tmp_path, vae, cached(tmp_path / "scenes"), NANO_WORLD)
    with pytest.raises(ValueError, match=r"\(count: 8 there, 9 here\)"):
        cache_latents(tmp_path, vae, cached(tmp_path / "scenes", 9), NANO_WORLD)


def test_the_same_autoencoder_read_again_finds_its_latents(
    vae: AutoencoderKL, nano_family: Path, tmp_path: Path
) -> None:
    shown = cached(tmp_path / "scenes")
    cache_latents(tmp_path, vae, shown, NANO_WORLD)
    stamp = (tmp_path / "latents.npy").stat().st_mtime_ns
    cache_latents(tmp_path, freeze(AutoencoderKL, nano_family / "vae"), shown, NANO_WORLD)
    assert (tmp_path / "latents.npy").stat().st_mtime_ns == stamp
    other = freeze(AutoencoderKL, random_family(tmp_path / "other", seed=1) / "vae")
    with pytest.raises(ValueError, match=r"latents of another recipe \(vae: "):
        cache_latents(tmp_path, other, shown, NANO_WORLD)
