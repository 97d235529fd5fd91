"""A nano family with an adapter and LoRA that are not zero, exported once for all tests here, by the real command."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from export.models import Models, load_models
from export.onnx import main
from training.family.folder import family_hashes, load_family
from training.family.random_family import random_family
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterMetadata, save_adapter
from training.models.lora import add_lora, lora_parameters, lora_state

RANK, ALPHA = 4, 8.0


def write_nano(folder: Path, **changed: object) -> Path:
    """Write a nano family and an adapter for it; return the adapter's file."""
    random_family(folder)
    family = load_family(folder)
    torch.manual_seed(0)
    add_lora(family.unet, rank=RANK, alpha=ALPHA)
    adapter = HSpaceAdapter(64, num_attention_heads=4)
    with torch.no_grad():
        for parameter in lora_parameters(family.unet):
            parameter.normal_(std=0.03)
        adapter.proj_out.weight.normal_(std=0.05)
        adapter.proj_out.bias.normal_(std=0.05)
    metadata = AdapterMetadata(
        **{
            "family": "nano",
            "base_hashes": family_hashes(folder),
            "rank": RANK,
            "alpha": ALPHA,
            "channels": 64,
            "num_attention_heads": 4,
            "tokens": 4,
            "reference_pool": 2,
            "references": 3,
            "reference_timestep": 50,
            **changed,
        }
    )
    return save_adapter(folder / "adapter.safetensors", adapter, lora_state(family.unet), metadata)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    return write_nano(tmp_path_factory.mktemp("nano") / "family")


@pytest.fixture(scope="session")
def models(checkpoint) -> Models:
    """Not to be changed by a test."""
    return load_models(checkpoint)


@dataclass(frozen=True)
class Exported:
    path: Path
    printed: str


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory) -> Exported:
    out = tmp_path_factory.mktemp("exported") / "bundle"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["--ckpt", str(checkpoint), "--out", str(out)]) == 0
    return Exported(out, printed.getvalue())
