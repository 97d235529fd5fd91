"""decode(encode(x)) is `UNet2DConditionModel.forward`, bit for bit."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from training.models.split_unet import check_splittable, decode, encode


def _inputs(unet, *, batch=3, size=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = size or unet.config.sample_size
    return (
        torch.randn(batch, 4, size, size, generator=generator),
        torch.tensor([999, 0, 431])[:batch],
        torch.randn(batch, 77, unet.config.cross_attention_dim, generator=generator),
    )


@torch.no_grad()
def test_split_equals_whole_bit_for_bit(unet):
    sample, timestep, text = _inputs(unet)
    h, skips = encode(unet, sample, timestep, text)
    assert torch.equal(decode(unet, h, skips, timestep, text), unet(sample, timestep, text).sample)


@torch.no_grad()
@pytest.mark.parametrize("timestep", [999, torch.tensor(499), torch.tensor([3])])
def test_timestep_may_be_a_number_a_scalar_or_one_for_all(nano_unet, timestep):
    sample, _, text = _inputs(nano_unet)
    h, skips = encode(nano_unet, sample, timestep, text)
    assert torch.equal(decode(nano_unet, h, skips, timestep, text), nano_unet(sample, timestep, text).sample)


@torch.no_grad()
def test_sizes_that_the_upsampling_factor_does_not_divide(nano_unet):
    sample, timestep, text = _inputs(nano_unet, size=17)
    h, skips = encode(nano_unet, sample, timestep, text)
    assert torch.equal(decode(nano_unet, h, skips, timestep, text), nano_unet(sample, timestep, text).sample)


def test_gradients_of_the_two_halves_are_those_of_the_whole(nano_unet):
    sample, timestep, text = _inputs(nano_unet)
    whole = torch.autograd.grad(
        nano_unet(sample, timestep, text).sample.square().sum(), nano_unet.parameters()
    )
    h, skips = encode(nano_unet, sample, timestep, text)
    loss = decode(nano_unet, h, skips, timestep, text).square().sum()
    for ours, theirs in zip(torch.autograd.grad(loss, nano_unet.parameters()), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_h_reaches_the_output(nano_unet):
    sample, timestep, text = _inputs(nano_unet)
    h, skips = encode(nano_unet, sample, timestep, text)
    changed = decode(nano_unet, h + 1.0, skips, timestep, text)
    assert not torch.allclose(changed, decode(nano_unet, h, skips, timestep, text))


def test_sd21_at_512_pixels_has_the_papers_h_space(sd21_unet):
    sample, text = torch.empty(1, 4, 64, 64, device="meta"), torch.empty(1, 77, 1024, device="meta")
    h, skips = encode(sd21_unet, sample, torch.tensor([999], device="meta"), text)
    assert h.shape == (1, 1280, 8, 8)
    assert len(skips) == 12
    assert sum(parameter.numel() for parameter in sd21_unet.parameters()) == 865_910_724


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"num_class_embeds": 10}, "num_class_embeds"),
        ({"center_input_sample": True}, "center_input_sample"),
        ({"mid_block_type": None}, "mid_block_type"),
    ],
)
def test_a_unet_that_the_halves_would_not_reproduce_is_refused(nano_unet, changed, named):
    unet = UNet2DConditionModel(**(dict(nano_unet.config) | changed))
    with pytest.raises(ValueError, match=named):
        check_splittable(unet)
    check_splittable(nano_unet)
