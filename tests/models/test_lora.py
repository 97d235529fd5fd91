"""LoRA goes on the decoder only, starts as nothing, and leaves no trace of PEFT when it is fused."""

from __future__ import annotations

import pytest
import torch

from training.models.lora import (
    add_lora,
    fuse_and_strip,
    has_lora,
    load_lora,
    lora_parameters,
    lora_state,
    set_lora_enabled,
)
from training.models.split_unet import encode


def _inputs(unet):
    generator = torch.Generator().manual_seed(0)
    size = unet.config.sample_size
    text = torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator)
    return torch.randn(2, 4, size, size, generator=generator), torch.tensor([999, 10]), text


@torch.no_grad()
def _train(unet, *, seed=1):
    """Move every LoRA weight away from where it started."""
    torch.manual_seed(seed)
    for parameter in lora_parameters(unet):
        parameter.normal_(std=0.05)


def test_sd21_has_the_expected_number_of_weights_and_trains_nothing_else(sd21_unet):
    add_lora(sd21_unet, rank=16)
    assert sum(parameter.numel() for parameter in lora_parameters(sd21_unet)) == 10_068_992
    trained = [name for name, parameter in sd21_unet.named_parameters() if parameter.requires_grad]
    assert len(trained) == len(lora_parameters(sd21_unet))
    assert all(name.startswith("up_blocks.") for name in trained)
    # The first up block has no attention; its resnets are what reads the edited h.
    assert any(name.startswith("up_blocks.0.resnets.0.conv1.lora_A") for name in trained)


@torch.no_grad()
def test_fused_equals_pefts_unfused_output_and_wrappers_are_gone(unet):
    inputs, names = _inputs(unet), [name for name, _ in unet.named_parameters()]
    classes = {name: type(module) for name, module in unet.named_modules()}
    add_lora(unet, rank=4, alpha=8)
    _train(unet)
    wrapped = unet(*inputs).sample
    fuse_and_strip(unet)
    assert [name for name, _ in unet.named_parameters()] == names
    assert {name: type(module) for name, module in unet.named_modules()} == classes
    assert not has_lora(unet)
    torch.testing.assert_close(unet(*inputs).sample, wrapped, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_encoder_is_untouched_by_lora(nano_unet):
    inputs = _inputs(nano_unet)
    h, skips = encode(nano_unet, *inputs)
    add_lora(nano_unet, rank=4)
    _train(nano_unet)
    fuse_and_strip(nano_unet)
    again, skips_again = encode(nano_unet, *inputs)
    assert torch.equal(again, h)
    assert all(torch.equal(a, b) for a, b in zip(skips, skips_again, strict=True))


@torch.no_grad()
def test_alpha_scales_and_disabling_gives_the_base(nano_unet):
    inputs = _inputs(nano_unet)
    base = nano_unet(*inputs).sample
    add_lora(nano_unet, rank=4, alpha=4)
    _train(nano_unet)
    changed = nano_unet(*inputs).sample
    assert not torch.allclose(changed, base)
    set_lora_enabled(nano_unet, enabled=False)
    assert torch.equal(nano_unet(*inputs).sample, base)
    set_lora_enabled(nano_unet, enabled=True)
    assert torch.equal(nano_unet(*inputs).sample, changed)


@torch.no_grad()
def test_state_round_trip(nano_unet):
    inputs = _inputs(nano_unet)
    add_lora(nano_unet, rank=4)
    _train(nano_unet)
    state, expected = lora_state(nano_unet), nano_unet(*inputs).sample
    assert all("default" not in name for name in state)
    _train(nano_unet, seed=2)
    assert not torch.equal(nano_unet(*inputs).sample, expected)
    load_lora(nano_unet, state)
    assert torch.equal(nano_unet(*inputs).sample, expected)


def test_foreign_weights_are_refused(nano_unet):
    add_lora(nano_unet, rank=4)
    state = lora_state(nano_unet)
    name = next(iter(state))
    with pytest.raises(ValueError, match="1 layers missing"):
        load_lora(nano_unet, {key: value for key, value in state.items() if key != name})
    with pytest.raises(ValueError, match="1 unknown"):
        load_lora(nano_unet, state | {"up_blocks.9.conv.lora_A.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="rank"):
        load_lora(nano_unet, {key: torch.zeros(1, 1) for key in state})


def test_wrong_order_of_calls_is_refused(nano_unet):
    for call in (lora_state, fuse_and_strip):
        with pytest.raises(ValueError, match="carries no LoRA"):
            call(nano_unet)
    with pytest.raises(ValueError, match="rank is 0"):
        add_lora(nano_unet, rank=0)
    add_lora(nano_unet, rank=2)
    with pytest.raises(ValueError, match="carries LoRA already"):
        add_lora(nano_unet, rank=2)
