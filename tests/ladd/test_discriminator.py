"""The heads, what they are fed, and the views that the perceptual distance looks through."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel

from training.family.folder import Family, load_teacher
from training.ladd.augment import AugmentSettings, augment, random_view
from training.ladd.diffusion import Diffusion
from training.ladd.discriminator import (
    DiscriminatorHeads,
    Head,
    renoise,
    tapped_channels,
    tapped_skips,
    teacher_features,
)


def test_weights_of_the_heads_are_spectrally_normalised() -> None:
    torch.manual_seed(0)
    head = Head(16, width=8)
    with torch.no_grad():
        for layer in (head.enter, head.mix, head.judge):
            layer.parametrizations.weight.original.mul_(30.0)
        for _ in range(40):  # a step of the power iteration each
            head(torch.randn(2, 16, 4, 4))
        for layer in (head.enter, head.mix, head.judge):
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
            assert 0.95 < norm < 1.05


def test_the_scale_of_the_features_does_not_matter() -> None:
    head = Head(16, width=8).eval()
    features = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(head(features), head(100 * features), atol=1e-3, rtol=1e-3)


def test_every_resolution_and_the_bottleneck_are_tapped(family: Family) -> None:
    teacher = load_teacher(family.path)
    latents, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 16)
    features = teacher_features(teacher, latents, torch.tensor([0, 999]), embeds)
    assert [tuple(map_.shape) for map_ in features] == [(2, 32, 8, 8), (2, 64, 4, 4), (2, 64, 4, 4)]
    assert [map_.shape[1] for map_ in features] == tapped_channels(teacher)
    logits = DiscriminatorHeads(tapped_channels(teacher), width=8)(features)
    assert [tuple(map_.shape) for map_ in logits] == [(2, 1, 4, 4)] * 3


def test_taps_of_stable_diffusion() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280),
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
        )
    # conv_in, then two residual blocks and a downsampler a resolution; the last has none
    assert tapped_skips(unet) == [2, 5, 8, 11]
    assert tapped_channels(unet) == [320, 640, 1280, 1280, 1280]


def test_renoising_ends_in_pure_noise_and_starts_at_the_latents(family: Family) -> None:
    diffusion = Diffusion(family.scheduler)
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    noisy = renoise(latents, noise, diffusion.alphas_cumprod, torch.tensor([0, 999]))
    torch.testing.assert_close(noisy[1], noise[1])  # zero terminal SNR
    assert (noisy[0] - latents[0]).abs().max() < 0.2


def test_one_view_shows_both_sides_alike_and_lets_gradients_through() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = AugmentSettings()
    latents = torch.randn(3, 4, 8, 8, requires_grad=True)
    view = random_view(settings, generator, 3)
    first, second = (augment(latents, *view, cutout=settings.cutout) for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    first.sum().backward()
    assert torch.isfinite(latents.grad).all()
    assert latents.grad.abs().sum() > 0
    other = augment(latents, *random_view(settings, generator, 3), cutout=settings.cutout)
    assert (other - first).abs().max() > 0.1


def test_a_view_that_may_do_nothing_does_nothing() -> None:
    settings = AugmentSettings(flip=False, rotate=0.0, scale=0.0, translate=0.0, cutout=0.0)
    latents = torch.randn(2, 4, 8, 8)
    view = random_view(settings, torch.Generator().manual_seed(0), 2)
    torch.testing.assert_close(augment(latents, *view, cutout=0.0), latents, atol=1e-5, rtol=1e-5)
