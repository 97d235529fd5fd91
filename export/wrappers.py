"""One nn.Module per graph: the signatures of the bundle, and nothing that the runtime does not need.

Tensors are float32 unless stated; B = batch, (c, h, w) latents, (C, hh, hw) h-space, T = hh * hw tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from training.models.adapter import HSpaceAdapter
from training.models.slerp import SlerpAdapter
from training.models.split_unet import decode, encode

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


class UNetEncoderGraph(nn.Module):
    """Latents to bottleneck: for denoising, and at another timestep for indexing."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Keep the U-Net; its up blocks do not take part."""
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> tuple[Tensor, ...]:
        """(B, c, h, w), (B,) int64, (B, 77, D) -> h (B, C, hh, hw), skip_0, skip_1, ..."""
        h, skips = encode(self.unet, sample, timestep, encoder_hidden_states)
        return h, *skips


class UNetDecoderGraph(nn.Module):
    """Bottleneck and skips to the model output."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Keep the U-Net, LoRA fused; its down and mid blocks do not take part."""
        super().__init__()
        self.unet = unet

    def forward(self, h: Tensor, *rest: Tensor) -> Tensor:
        """(B, C, hh, hw), skip_0, skip_1, ..., (B,) int64, (B, 77, D) -> out_sample (B, c, h, w)."""
        *skips, timestep, encoder_hidden_states = rest
        return decode(self.unet, h, tuple(skips), timestep, encoder_hidden_states)


class AdapterGraph(nn.Module):
    """Dequantise the references and inject them into h."""

    def __init__(self, adapter: HSpaceAdapter | SlerpAdapter) -> None:
        """Keep the adapter, trained or not."""
        super().__init__()
        self.adapter = adapter

    def forward(
        self,
        h: Tensor,
        reference_h: Tensor,
        reference_scale: Tensor,
        reference_weight: Tensor,
        strength: Tensor,
    ) -> Tensor:
        """(B, C, hh, hw), (B, K, T, C) int8, (C,), (B, K), (B,) -> fused_h (B, C, hh, hw)."""
        references = reference_h.to(h.dtype) * reference_scale
        return self.adapter.inject(h, references, reference_weight, strength)


class VaeDecoderGraph(nn.Module):
    """Latents in the model's scaled space to pixels."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Keep the autoencoder and its scale."""
        super().__init__()
        self.vae = vae
        self.scaling_factor = float(vae.config["scaling_factor"])

    def forward(self, latent_sample: Tensor) -> Tensor:
        """(B, c, h, w) -> sample (B, 3, H, W), about [-1, 1]."""
        decoded: Tensor = self.vae.decode(latent_sample / self.scaling_factor, return_dict=False)[0]
        return decoded


class VaeEncoderGraph(nn.Module):
    """Pixels to latents in the model's scaled space: the posterior's mode, so indexing is deterministic."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Keep the autoencoder and its scale."""
        super().__init__()
        self.vae = vae
        self.scaling_factor = float(vae.config["scaling_factor"])

    def forward(self, sample: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latent_sample (B, c, h, w)."""
        mode: Tensor = self.vae.encode(sample, return_dict=False)[0].mode()
        return mode * self.scaling_factor
