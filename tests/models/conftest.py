"""Real U-Nets with random weights: nano, emoji, and all of SD-2.1's blocks at a tenth of the width."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

TWO_LEVELS = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 16,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
}
SD21 = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 64,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
CONFIGS = {
    "nano": TWO_LEVELS
    | {"block_out_channels": (32, 64), "cross_attention_dim": 16, "attention_head_dim": (2, 4)},
    "emoji": TWO_LEVELS
    | {"block_out_channels": (96, 192), "cross_attention_dim": 128, "attention_head_dim": (3, 6)},
    # Every block and layer of SD-2.1, a tenth as wide.
    "sd21-narrow": SD21
    | {
        "block_out_channels": (32, 64, 128, 128),
        "cross_attention_dim": 32,
        "attention_head_dim": (1, 2, 4, 4),
        "sample_size": 32,
    },
}


def _build(name: str) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(**CONFIGS[name]).eval()


@pytest.fixture(params=list(CONFIGS))
def unet(request: pytest.FixtureRequest) -> UNet2DConditionModel:
    return _build(request.param)


@pytest.fixture
def nano_unet() -> UNet2DConditionModel:
    return _build("nano")


@pytest.fixture
def sd21_unet() -> UNet2DConditionModel:
    """SD-2.1 in its exact shape, without memory: shapes and parameter counts only."""
    with torch.device("meta"):
        return UNet2DConditionModel(**SD21)
