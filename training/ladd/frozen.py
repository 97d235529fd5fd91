"""Loads what a run does not train, so that it takes as little memory as the config allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from training.family.folder import Family, load_family, load_teacher

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.ladd.config import RunConfig

PLAIN_ATTENTION = 1024
"""Up to so many tokens, plain matmuls are used on CPUs: the backward pass of PyTorch's fused attention is slow there.
SD-Turbo's 4096 would need 335 MB for every attention and pair."""


def load_frozen(path: Path, run: RunConfig, *, device: torch.device) -> tuple[Family, UNet2DConditionModel]:
    """Read a family and its teacher for a run. Each U-Net is made smaller before the next one is read.

    Args:
        path: The family's folder.
        run: How the weights lie in memory.
        device: Where they go.

    Raises:
        FileNotFoundError: The family lacks a part.
    """
    family = load_family(path, device=device, image_tower=False)
    prepare(family.unet, run)
    teacher = load_teacher(path, device=device)
    prepare(teacher, run)
    return family, teacher


def prepare(unet: UNet2DConditionModel, run: RunConfig) -> None:
    """Make a frozen U-Net as small as the config allows; changed in place."""
    if run.frozen_dtype == "bfloat16":
        halve(unet)
    if run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if unet.device.type == "cpu" and attended_tokens(unet) <= PLAIN_ATTENTION:
        unet.set_attn_processor(AttnProcessor())


def halve(unet: nn.Module) -> None:
    """Keep the weights of matrix products and convolutions as bfloat16; those of norms, which are few, as they are."""
    for module in unet.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)


def is_halved(unet: UNet2DConditionModel) -> bool:
    """Whether the U-Net works under bfloat16 autocast alone."""
    return bool(unet.conv_in.weight.dtype == torch.bfloat16)


def attended_tokens(unet: UNet2DConditionModel) -> int:
    """How many tokens the U-Net's finest self-attention has."""
    finest = next(
        place for place, block in enumerate(unet.down_blocks) if getattr(block, "has_cross_attention", False)
    )
    return (int(unet.config.sample_size) >> finest) ** 2
