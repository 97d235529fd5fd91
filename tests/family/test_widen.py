"""A wider autoencoder does what the narrow one did, and its decoder learns on without moving the latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from training.family.folder import freeze
from training.family.random_family import NANO_WORLD, nano_config
from training.family.scene_cache import SceneCache, cache_scenes
from training.family.vae import reconstruction_psnr
from training.family.widen import train_decoder, widen, without_twins


@pytest.fixture
def vae(nano_family: Path) -> AutoencoderKL:
    return freeze(AutoencoderKL, nano_family / "vae")


@pytest.fixture
def scenes(tmp_path: Path) -> SceneCache:
    return cache_scenes(tmp_path, NANO_WORLD, "train", 64, 32)


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_twice_the_channels_and_the_same_pictures(
    vae: AutoencoderKL, scenes: SceneCache, apart: float
) -> None:
    wide = widen(vae, apart=apart)
    pixels = torch.from_numpy(scenes.batch(np.arange(8)))
    with torch.inference_mode():
        latents = vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(wide.encode(pixels).latent_dist.mode(), latents, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            wide.decode(latents).sample, vae.decode(latents).sample, atol=1e-4, rtol=1e-4
        )
    assert list(wide.config.block_out_channels) == [2 * count for count in vae.config.block_out_channels]
    assert wide.config.scaling_factor == vae.config.scaling_factor


def test_an_encoder_of_twins_is_halved_again(vae: AutoencoderKL, scenes: SceneCache) -> None:
    wide = widen(vae)
    narrow = without_twins(wide)
    assert tuple(narrow.config.block_out_channels) == tuple(vae.config.block_out_channels)
    assert torch.equal(narrow.encoder.conv_in.weight, vae.encoder.conv_in.weight)
    pixels = torch.from_numpy(scenes.batch(np.arange(8)))
    with torch.inference_mode():
        torch.testing.assert_close(
            narrow.encode(pixels).latent_dist.mode(),
            wide.encode(pixels).latent_dist.mode(),
            atol=1e-4,
            rtol=1e-4,
        )


def test_an_encoder_without_twins_stays(vae: AutoencoderKL) -> None:
    assert without_twins(vae) is vae
    other = widen(vae)
    other.encoder.conv_in.weight.data[0] += 0.01
    assert without_twins(other) is other


def test_twins_are_told_apart(vae: AutoencoderKL) -> None:
    """Equal ones would get equal gradients for ever."""
    pulled, equal = widen(vae).decoder.conv_out.weight, widen(vae, apart=0.0).decoder.conv_out.weight
    assert not torch.equal(pulled[:, ::2], pulled[:, 1::2])
    assert torch.equal(equal[:, ::2], equal[:, 1::2])


def test_the_decoder_learns_and_the_latents_stay(
    vae: AutoencoderKL, scenes: SceneCache, tmp_path: Path
) -> None:
    wide = widen(vae)
    pixels = torch.from_numpy(scenes.batch(np.arange(8)))
    with torch.inference_mode():
        before = wide.encode(pixels).latent_dist.mode()
    psnr = reconstruction_psnr(wide, scenes, count=64)
    config = replace(nano_config().vae, decoder_steps=40, batch=8)
    trained = train_decoder(config, wide, scenes, tmp_path)
    with torch.inference_mode():
        assert torch.equal(trained.encode(pixels).latent_dist.mode(), before)
    assert reconstruction_psnr(trained, scenes, count=64) > psnr + 0.5
