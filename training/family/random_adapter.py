"""An adapter and LoRA of random weights for a family: stands in for a trained one where only numbers matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from training.family.folder import SETTINGS_FILE, family_hashes, read_json
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterMetadata, save_adapter
from training.models.lora import add_lora, named_lora
from training.models.split_unet import bottleneck_side

FILE = "adapter.safetensors"
RANK = 16
STD = 0.02
"""Of the weights that start at zero: an untrained adapter would be a no-op, and hide every mistake."""


def random_adapter(family: Path, *, seed: int = 0) -> Path:
    """Write ``adapter.safetensors`` into a family's folder, with nothing in it at zero.

    Args:
        family: A family's folder; only its configs are read, and its files hashed.
        seed: Of the weights.

    Returns:
        The file.

    Raises:
        FileNotFoundError: A part of the family is missing.
        CheckpointError: The file cannot be written.
    """
    config = read_json(family / "unet" / "config.json")
    with torch.device("meta"):  # the base's weights are not needed to know LoRA's shapes
        unet = UNet2DConditionModel.from_config(config)
        add_lora(unet, rank=RANK)
    channels = int(config["block_out_channels"][-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = {name: torch.randn(weight.shape) * STD for name, weight in named_lora(unet).items()}
        adapter = HSpaceAdapter(channels, num_attention_heads=_heads(config))
        torch.nn.init.normal_(adapter.proj_out.weight, std=STD)
    metadata = AdapterMetadata(
        family=str(read_json(family / SETTINGS_FILE)["name"]),
        base_hashes=family_hashes(family),
        rank=RANK,
        alpha=float(RANK),
        channels=channels,
        num_attention_heads=adapter.num_attention_heads,
        tokens=bottleneck_side(unet) ** 2,
    )
    return save_adapter(family / FILE, adapter, lora, metadata)


def _heads(unet_config: dict[str, Any]) -> int:
    """Of the bottleneck's attention; diffusers takes the number of heads under another name (its issue 2011)."""
    heads = unet_config["attention_head_dim"]
    return int(heads[-1] if isinstance(heads, list) else heads)
