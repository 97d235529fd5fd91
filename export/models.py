"""Everything of a family and its adapter that goes into graphs, loaded and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from export.attention import OneOperator
from export.errors import ExportError, ParityError
from ragturbo_runtime.files import hash_file
from training.family.folder import Family, family_hashes, load_family
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterCheckpoint, AdapterMetadata, CheckpointError, load_adapter
from training.models.lora import add_lora, fuse_and_strip, load_lora
from training.models.split_unet import check_splittable, encode

FUSED_TOLERANCE = 1e-4
"""Of the largest output value: what fusing LoRA may change, by rounding."""


@dataclass(frozen=True)
class Models:
    """A base with LoRA fused in, its adapter, and where they come from.

    Attributes:
        family: The base; the up blocks of its U-Net hold the fused LoRA, the rest is the base's own.
        adapter: The h-space adapter, in evaluation mode.
        metadata: What the adapter was trained for.
        hashes: SHA-256, hex: unet, text_encoder, vae, configs, adapter.
    """

    family: Family
    adapter: HSpaceAdapter
    metadata: AdapterMetadata
    hashes: dict[str, str]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture's latents."""
        config = self.family.vae.config
        side = self.family.resolution // 2 ** (len(config["block_out_channels"]) - 1)
        return int(config["latent_channels"]), side, side

    @property
    def latent_cells(self) -> int:
        """H * w of one picture's latents."""
        _, height, width = self.latent_shape
        return height * width


def load_models(checkpoint: Path, base: Path | None = None) -> Models:
    """Load an adapter file and the base that it was trained on, and fuse its LoRA.

    Args:
        checkpoint: adapter.safetensors.
        base: The base's folder; None = the folder that holds the checkpoint.

    Returns:
        All models on the CPU, float32, in evaluation mode.

    Raises:
        ExportError: A file is missing or damaged, the base is another one, or it cannot be split.
        ParityError: Fusing LoRA changed the output.
    """
    base = base or checkpoint.parent
    try:
        loaded = load_adapter(checkpoint)
        hashes = family_hashes(base)
        loaded.check_base(hashes)
        adapter = loaded.build_adapter()
        family = load_family(base)
        check_splittable(family.unet)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    except FileNotFoundError as error:
        raise ExportError(
            f"{base}: not a whole base family ({error}); give its folder with --base"
        ) from error
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise ExportError(f"{base}: the base family cannot be read: {error}") from error
    family.unet.set_attn_processor(OneOperator())
    family.vae.set_attn_processor(OneOperator())
    hashes["adapter"] = hash_file(checkpoint)
    models = Models(family, adapter, loaded.metadata, hashes)
    _check_shape(models)
    if loaded.lora_state:
        _fuse_lora(models, loaded)
    return models


def _check_shape(models: Models) -> None:
    """Compare the adapter's h-space with the base's."""
    sample, timestep, prompt_embeds = _unet_inputs(models)
    with torch.inference_mode():
        h, _ = encode(models.family.unet, sample, timestep, prompt_embeds)
    metadata = models.metadata
    found = (h.shape[1], h.shape[2] * h.shape[3])
    expected = (metadata.channels, metadata.tokens * metadata.reference_pool**2)
    if found != expected or h.shape[2] % metadata.reference_pool or h.shape[3] % metadata.reference_pool:
        raise ExportError(
            f"the adapter is for an h-space of {expected[0]} channels x {expected[1]} cells, "
            f"pooled by {metadata.reference_pool}; the base has {found[0]} x {found[1]}; "
            "give the base that it was trained on"
        )


def _fuse_lora(models: Models, checkpoint: AdapterCheckpoint) -> None:
    """Fuse LoRA into the up blocks, and make sure that the U-Net still computes what PEFT computed."""
    unet, metadata = models.family.unet, checkpoint.metadata
    try:
        add_lora(unet, rank=metadata.rank, alpha=metadata.alpha)
        load_lora(unet, checkpoint.lora_state)
    except ValueError as error:
        raise ExportError(f"{checkpoint.path}: {error}") from error
    inputs = _unet_inputs(models)
    with torch.inference_mode():
        before = unet(*inputs).sample
    fuse_and_strip(unet)
    unet.requires_grad_(False)
    with torch.inference_mode():
        difference = (unet(*inputs).sample - before).abs().max().item()
    atol = FUSED_TOLERANCE * max(1.0, before.abs().max().item())
    if not difference <= atol:
        raise ParityError("fused LoRA", max_abs_diff=difference, atol=atol, psnr_db=float("nan"))


def _unet_inputs(models: Models) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of two: latents, timesteps, prompt embeddings."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, *models.latent_shape, generator=generator)
    with torch.inference_mode():
        prompt_embeds, _ = models.family.text.encode(["a red apple", "two cats"])
    return sample, torch.tensor([999, 499]), prompt_embeds
