"""Everything of a family and its adapter that goes into graphs, loaded and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from export.attention import OneOperator
from export.errors import ExportError, ParityError
from export.reference_settings import ReferenceSettings
from export.tiny_vae import load_tiny_decoder
from export.wrappers import VaeDecoderGraph
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.library.feature_rows import FeatureCodec
from training.family.folder import Family, family_hashes, load_family
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterCheckpoint, CheckpointError, load_adapter
from training.models.lora import add_lora, fuse_and_strip, load_lora
from training.models.slerp import DEFAULT_SHARE, SlerpAdapter
from training.models.split_unet import check_splittable, encode

FUSED_TOLERANCE = 1e-4
"""Of the largest output value: what fusing LoRA may change, by rounding."""
_FUSED_SIDE = 16


@dataclass(frozen=True)
class Models:
    """A base with LoRA fused in, what injects references into it, and where they come from.

    Attributes:
        family: The base; the up blocks of its U-Net hold the fused LoRA, the rest is the base's own.
        adapter: Injects references into h: a trained one in evaluation mode, or slerp.
        metadata: How references are taken and weighed.
        hashes: SHA-256, hex: unet, text_encoder, vae, configs; adapter, of a trained one; vae_decoder, where another
            autoencoder's takes the place of the family's.
        vae_decoder: Latents in the model's scaled space (B, c, h, w) to pixels (B, 3, H, W), about [-1, 1].
        feature_codec: How the library keeps features, and the adapter's graph reads them.
        image_encoder: Whether the image tower is exported too, to search a library by picture.
    """

    family: Family
    adapter: HSpaceAdapter | SlerpAdapter
    metadata: ReferenceSettings
    hashes: dict[str, str]
    vae_decoder: nn.Module
    feature_codec: FeatureCodec = "int8"
    image_encoder: bool = False

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture's latents."""
        return latent_shape(self.family)

    @property
    def latent_cells(self) -> int:
        """H * w of one picture's latents."""
        _, height, width = self.latent_shape
        return height * width


def load_models(checkpoint: Path, base: Path | None = None, *, vae: Path | None = None) -> Models:
    """Load an adapter file and the base that it was trained on, and fuse its LoRA.

    Args:
        checkpoint: adapter.safetensors.
        base: The base's folder; None = the folder that holds the checkpoint.
        vae: A tiny autoencoder that takes the place of the VAE's decoder; None = the base's own.

    Returns:
        All models on the CPU, float32, in evaluation mode.

    Raises:
        ExportError: A file is missing or damaged, the base is another one, or it cannot be split.
        ParityError: Fusing LoRA changed the output.
    """
    base = base or checkpoint.parent
    with _one_error(base):
        loaded = load_adapter(checkpoint)
        hashes = family_hashes(base)
        loaded.check_base(hashes)
        adapter = loaded.build_adapter()
        family = _load_family(base)
    settings = ReferenceSettings.of(loaded.metadata)
    settings.check(*_h_shape(family))
    if loaded.lora_state:
        _fuse_lora(family, loaded)
    hashes["adapter"] = hash_file(checkpoint)
    return _with_decoder(family, adapter, settings, hashes, vae)


def load_base(base: Path, *, slerp_share: float = DEFAULT_SHARE, vae: Path | None = None) -> Models:
    """Load a base alone: references are injected by slerp, which nothing has to be trained for.

    Args:
        base: The base's folder.
        slerp_share: Share of the injected side at strength 1 and lambda 1, in (0, 1].
        vae: As of `load_models`.

    Returns:
        As `load_models`.

    Raises:
        ExportError: A file is missing or damaged, the base cannot be split, or the share is out of range.
    """
    try:
        adapter = SlerpAdapter(slerp_share)
    except ValueError as error:
        raise ExportError(str(error)) from error
    with _one_error(base):
        hashes = family_hashes(base)
        family = _load_family(base)
    channels, height, width = _h_shape(family)
    settings = ReferenceSettings(channels=channels, tokens=height * width)
    return _with_decoder(family, adapter, settings, hashes, vae)


def latent_shape(family: Family) -> tuple[int, int, int]:
    """Return (c, h, w) of one picture's latents."""
    config = family.vae.config
    side = family.resolution // 2 ** (len(config["block_out_channels"]) - 1)
    return int(config["latent_channels"]), side, side


@contextmanager
def _one_error(base: Path) -> Iterator[None]:
    """Say as an ExportError what is wrong with a checkpoint or with the base's folder."""
    try:
        yield
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    except FileNotFoundError as error:
        raise ExportError(
            f"{base}: not a whole base family ({error}); give its folder with --base"
        ) from error
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise ExportError(f"{base}: the base family cannot be read: {error}") from error


def _load_family(base: Path) -> Family:
    """A family that can be split, its attention as one operator."""
    family = load_family(base)
    check_splittable(family.unet)
    family.unet.set_attn_processor(OneOperator())
    family.vae.set_attn_processor(OneOperator())
    return family


def _with_decoder(
    family: Family,
    adapter: HSpaceAdapter | SlerpAdapter,
    settings: ReferenceSettings,
    hashes: dict[str, str],
    vae: Path | None,
) -> Models:
    """Choose the decoder, and note its hash where it is not the family's."""
    decoder: nn.Module = VaeDecoderGraph(family.vae)
    if vae is not None:
        tiny = load_tiny_decoder(vae, latent_shape(family), family.resolution)
        decoder, hashes = tiny.module, {**hashes, "vae_decoder": tiny.sha256}
    return Models(family, adapter, settings, hashes, decoder)


def unet_shapes(family: Family) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Work out, without computing anything, what lies between the halves of a U-Net.

    Args:
        family: The base.

    Returns:
        Shapes of h and of every skip, without the batch.
    """
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(family.unet.config)
        prompt_embeds = torch.zeros(1, 1, family.text.width)
        h, skips = encode(unet, torch.zeros(1, *latent_shape(family)), torch.tensor([0]), prompt_embeds)
    return tuple(h.shape[1:]), [tuple(skip.shape[1:]) for skip in skips]


def _h_shape(family: Family) -> tuple[int, int, int]:
    """(C, hh, hw) of the bottleneck."""
    (channels, height, width), _ = unet_shapes(family)
    return channels, height, width


def _fuse_lora(family: Family, checkpoint: AdapterCheckpoint) -> None:
    """Fuse LoRA into the up blocks, and make sure that the U-Net still computes what PEFT computed."""
    unet, metadata = family.unet, checkpoint.metadata
    try:
        add_lora(unet, rank=metadata.rank, alpha=metadata.alpha)
        load_lora(unet, checkpoint.lora_state)
    except ValueError as error:
        raise ExportError(f"{checkpoint.path}: {error}") from error
    inputs = _unet_inputs(family)
    with torch.inference_mode():
        before = unet(*inputs).sample
    fuse_and_strip(unet)
    unet.requires_grad_(False)
    with torch.inference_mode():
        difference = (unet(*inputs).sample - before).abs().max().item()
    atol = FUSED_TOLERANCE * max(1.0, before.abs().max().item())
    if not difference <= atol:
        raise ParityError("fused LoRA", max_abs_diff=difference, atol=atol, psnr_db=float("nan"))


def _unet_inputs(family: Family) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of two: latents, timesteps, prompt embeddings. Large latents are cut: the weights are the same."""
    generator = torch.Generator().manual_seed(0)
    channels, *sides = latent_shape(family)
    sample = torch.randn(2, channels, *(min(side, _FUSED_SIDE) for side in sides), generator=generator)
    with torch.inference_mode():
        prompt_embeds, _ = family.text.encode(["a red apple", "two cats"])
    return sample, torch.tensor([999, 499]), prompt_embeds
