"""The adapter's arithmetic: the paper's size and formula, and the no-ops that k references must keep."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.models.adapter import HSpaceAdapter, fuse, outer_weight
from training.models.lora import add_lora
from training.models.split_unet import decode, encode

CHANNELS, TOKENS = 64, 64


def _trained(seed: int = 0) -> HSpaceAdapter:
    """An adapter whose output layer is not zero any more."""
    torch.manual_seed(seed)
    adapter = HSpaceAdapter(CHANNELS, num_attention_heads=4).eval().requires_grad_(False)
    adapter.proj_out.weight.normal_(std=0.1)
    adapter.proj_out.bias.normal_(std=0.1)
    return adapter


def _features(batch: int = 2, references: int = 3, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, CHANNELS, 8, 8, generator=generator)
    reference_h = 5 * torch.randn(batch, references, TOKENS, CHANNELS, generator=generator)
    return h, reference_h


def test_it_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        adapter = HSpaceAdapter(1280, num_attention_heads=20)
    count = sum(parameter.numel() for parameter in adapter.parameters())
    assert count == 36_071_680
    assert round(100 * count / (count + 865_910_724), 1) == 4.0  # "4 % of the model"


@torch.no_grad()
def test_untrained_adapter_and_lora_are_the_base_bit_for_bit(nano_unet):
    generator = torch.Generator().manual_seed(3)
    sample, timestep = torch.randn(2, 4, 16, 16, generator=generator), torch.tensor([999, 249])
    text = torch.randn(2, 77, 16, generator=generator)
    base = nano_unet(sample, timestep, text).sample
    add_lora(nano_unet, rank=4, alpha=8)
    adapter = HSpaceAdapter(CHANNELS, num_attention_heads=4)
    h, skips = encode(nano_unet, sample, timestep, text)
    weight = torch.tensor([[0.9, 0.4], [1.0, 0.0]])
    delta = adapter(h, torch.randn(2, 2, TOKENS, CHANNELS, generator=generator), weight)
    assert torch.equal(decode(nano_unet, fuse(h, delta, weight), skips, timestep, text), base)


def test_training_reaches_the_zero_output_layer_in_the_first_step():
    adapter = HSpaceAdapter(CHANNELS, num_attention_heads=4)
    h, reference_h = _features()
    adapter(h, reference_h, torch.ones(2, 3)).sum().backward()
    assert adapter.proj_out.weight.grad is not None
    assert adapter.proj_out.weight.grad.abs().max() > 0


@settings(max_examples=30, deadline=None)
@given(similarity=st.floats(0, 1, width=32, allow_subnormal=False), strength=st.floats(0, 2, width=32))
def test_one_reference_is_the_papers_formula(similarity, strength):
    adapter, (h, reference_h) = _trained(), _features(references=1)
    weight = torch.full((2, 1), similarity)
    delta = adapter(h, reference_h, weight)
    fused = fuse(h, delta, weight, strength)
    assert torch.equal(outer_weight(weight), weight[:, 0])
    assert torch.equal(fused, h + (weight[:, 0] * strength).reshape(-1, 1, 1, 1) * delta)


def test_the_bias_of_a_single_reference_cancels():
    adapter, (h, reference_h) = _trained(), _features(references=1)
    full = adapter(h, reference_h, torch.ones(2, 1))
    torch.testing.assert_close(adapter(h, reference_h, torch.full((2, 1), 0.2)), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [0.0, -0.3])
def test_a_reference_of_lambda_zero_is_a_no_op(masked):
    adapter, (h, reference_h) = _trained(), _features()
    weight = torch.tensor([[0.8, masked, 0.5]] * 2)
    delta = adapter(h, reference_h, weight)
    other = reference_h.clone()
    other[:, 1] = -40 * other[:, 1] + 7  # whatever it holds: not one bit changes
    assert torch.equal(adapter(h, other, weight), delta)
    kept = [0, 2]
    without = adapter(h, reference_h[:, kept], weight[:, kept])
    torch.testing.assert_close(without, delta, rtol=1e-4, atol=1e-5)
    assert torch.equal(outer_weight(weight), outer_weight(weight[:, kept]))


def test_a_set_of_zeros_is_the_base_bit_for_bit():
    adapter, (h, reference_h) = _trained(), _features()
    weight = torch.zeros(2, 3)
    delta = adapter(h, reference_h, weight)
    assert delta.isfinite().all()
    assert torch.equal(fuse(h, delta, weight), h)


def test_strength_zero_is_the_base_bit_for_bit_per_picture():
    adapter, (h, reference_h) = _trained(), _features()
    weight = torch.full((2, 3), 0.7)
    fused = fuse(h, adapter(h, reference_h, weight), weight, torch.tensor([0.0, 1.0]))
    assert torch.equal(fused[0], h[0])
    assert not torch.equal(fused[1], h[1])


def test_the_order_of_references_does_not_matter():
    adapter, (h, reference_h) = _trained(), _features()
    weight = torch.tensor([[0.9, 0.2, 0.5]] * 2)
    turned = adapter(h, reference_h.flip(1), weight.flip(1))
    torch.testing.assert_close(turned, adapter(h, reference_h, weight), rtol=1e-4, atol=1e-5)


def test_a_more_similar_reference_counts_more():
    adapter, (h, reference_h) = _trained(), _features(references=2)
    alone = adapter(h, reference_h[:, :1], torch.ones(2, 1))
    distances = [
        (adapter(h, reference_h, torch.tensor([[1.0, other]] * 2)) - alone).norm().item()
        for other in (0.9, 0.3, 0.01)
    ]
    assert distances == sorted(distances, reverse=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
def test_the_outer_weight_lies_between_mean_and_maximum(similarities):
    weight = torch.tensor([similarities])
    value = outer_weight(weight).item()
    assert weight.mean().item() - 1e-6 <= value <= weight.max().item() + 1e-6


def test_a_batch_is_its_singles():
    adapter, (h, reference_h) = _trained(), _features(batch=3)
    weight = torch.tensor([[0.9, 0.2, 0.5], [0.0, 0.0, 1.0], [0.3, 0.3, 0.3]])
    whole = adapter(h, reference_h, weight)
    for row in range(3):
        one = slice(row, row + 1)
        single = adapter(h[one], reference_h[one], weight[one])
        torch.testing.assert_close(single, whole[one], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"num_attention_heads": 5}, {"num_attention_heads": 4, "norm_num_groups": 24}]
)
def test_heads_and_groups_must_divide_the_channels(wrong):
    with pytest.raises(ValueError, match=r"does not divide channels=64"):
        HSpaceAdapter(CHANNELS, **wrong)
