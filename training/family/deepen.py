"""Gives a U-Net's encoder more layers without changing what it computes.

One step must decide what stands where before the decoder begins, for there the references come in; many steps may
leave that to the next one. So the student's encoder is deeper than the teacher's. The new layers start as the
identity, as ControlNet's do (Zhang et al. 2023): their output projections are zero.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor


def deepen_encoder(unet: UNet2DConditionModel, layers: int) -> UNet2DConditionModel:
    """Copy a U-Net, with more layers in every transformer of its down blocks and its mid-block.

    Args:
        unet: One layer per transformer throughout; it stays as it is.
        layers: Of the copy's encoder, 1 or more; its decoder keeps one.

    Returns:
        A U-Net with the same output, trainable.

    Raises:
        ValueError: The U-Net has more than one layer per transformer already.
    """
    blocks = len(unet.config.block_out_channels)
    if unet.config.transformer_layers_per_block not in (1, (1,) * blocks, [1] * blocks):
        found = unet.config.transformer_layers_per_block
        raise ValueError(f"transformer_layers_per_block is {found}; only a U-Net with 1 is deepened")
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    config["transformer_layers_per_block"] = (layers,) * blocks
    config["reverse_transformer_layers_per_block"] = (1,) * blocks
    deeper = UNet2DConditionModel(**config)
    known = unet.state_dict()
    missing, _ = deeper.load_state_dict(known, strict=False)
    for name, block in deeper.named_modules():
        if isinstance(block, BasicTransformerBlock) and f"{name}.norm1.weight" in missing:
            _make_identity(block)
    deeper.set_attn_processor(AttnProcessor())
    return deeper.requires_grad_(True)


def _make_identity(block: BasicTransformerBlock) -> None:
    outputs = (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[-1])
    with torch.no_grad():
        for linear in outputs:
            for parameter in linear.parameters():
                parameter.zero_()
