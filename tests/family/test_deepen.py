"""A deeper encoder: the same answers at first, and more that can be learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock

from training.family.deepen import deepen_encoder
from training.family.folder import freeze, load_teacher, save_part
from training.models.lora import add_lora, lora_parameters
from training.models.split_unet import decode, encode


def layers(part: torch.nn.Module) -> int:
    return sum(isinstance(module, BasicTransformerBlock) for module in part.modules())


def test_it_computes_the_same_and_only_its_encoder_grows(nano_family: Path) -> None:
    teacher = load_teacher(nano_family)
    deeper = deepen_encoder(teacher, 3)
    sample, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 16)
    expected = teacher(sample, 500, encoder_hidden_states=embeds).sample
    torch.testing.assert_close(
        deeper(sample, 500, encoder_hidden_states=embeds).sample, expected, atol=1e-4, rtol=1e-4
    )
    assert layers(deeper.up_blocks) == layers(teacher.up_blocks)
    assert layers(deeper.down_blocks) == 3 * layers(teacher.down_blocks) > 0
    assert layers(deeper.mid_block) == 3 * layers(teacher.mid_block) > 0
    assert all(parameter.requires_grad for parameter in deeper.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_new_layers_learn(nano_family: Path) -> None:
    deeper = deepen_encoder(load_teacher(nano_family), 2)
    optimizer = torch.optim.SGD(deeper.parameters(), lr=0.1)
    sample, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 16)
    for _ in range(2):  # first the zero outputs, then what lies before them
        loss = deeper(sample, 500, encoder_hidden_states=embeds).sample.square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    new = deeper.mid_block.attentions[0].transformer_blocks[1]
    assert all(parameter.grad.abs().max() > 0 for parameter in new.attn1.parameters())


def test_it_is_saved_split_and_given_lora_as_any_other(nano_family: Path, tmp_path: Path) -> None:
    deeper = deepen_encoder(load_teacher(nano_family), 2)
    save_part(deeper, tmp_path / "unet")
    read = freeze(type(deeper), tmp_path / "unet")
    sample, embeds = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 16)
    h, skips = encode(read, sample, 500, embeds)
    expected = read(sample, 500, encoder_hidden_states=embeds).sample
    torch.testing.assert_close(decode(read, h, skips, 500, embeds), expected)
    add_lora(read, rank=2, alpha=2.0)
    assert lora_parameters(read)


def test_a_deep_one_is_refused(nano_family: Path) -> None:
    with pytest.raises(ValueError, match="only a U-Net with 1 is deepened"):
        deepen_encoder(deepen_encoder(load_teacher(nano_family), 2), 3)
