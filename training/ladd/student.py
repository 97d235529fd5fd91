"""The student: the frozen one-step base, the h-space adapter, and LoRA on the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.ladd.diffusion import Diffusion
from training.models.adapter import HSpaceAdapter, fuse
from training.models.lora import add_lora, lora_parameters
from training.models.split_unet import check_splittable, decode, encode

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class Encoded:
    """What the frozen encoder makes of noise and prompt; no gradient flows into it: once a step is enough."""

    sample: Tensor
    """(B, c, h, w) float32, what the U-Net saw."""
    h: Tensor
    """(B, C, h/f, w/f) float."""
    skips: tuple[Tensor, ...]
    prompt_embeds: Tensor
    """(B, L, D) float."""


class Student:
    """Draws in one step from noise, prompt and references.

    Args:
        unet: The family's one-step U-Net; it gets LoRA, in place.
        diffusion: The family's schedule.
        heads: Heads of the adapter's attentions.
        norm_groups: Groups of the adapter's GroupNorm.
        rank: LoRA rank.
        alpha: LoRA scale.
        retrieval: False: no references ever (the LoRA-only control); there is no adapter then.

    Raises:
        ValueError: The U-Net cannot be split, or heads or groups do not divide its channels.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        diffusion: Diffusion,
        *,
        heads: int,
        norm_groups: int = 32,
        rank: int,
        alpha: float,
        retrieval: bool = True,
    ) -> None:
        check_splittable(unet)
        self.unet = unet
        self.diffusion = diffusion
        self.timestep = diffusion.last_timestep
        add_lora(unet, rank=rank, alpha=alpha)
        self.adapter: HSpaceAdapter | None = None
        if retrieval:
            channels = int(unet.config.block_out_channels[-1])
            adapter = HSpaceAdapter(channels, num_attention_heads=heads, norm_num_groups=norm_groups)
            self.adapter = adapter.to(unet.device)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, always in the same order: the adapter's, then the LoRA's."""
        own = [] if self.adapter is None else list(self.adapter.parameters())
        return [*own, *lora_parameters(self.unet)]

    def shares(self) -> tuple[int, int]:
        """How many parameters are trained, and how many the frozen U-Net has."""
        frozen = (parameter for parameter in self.unet.parameters() if not parameter.requires_grad)
        return sum(map(Tensor.numel, self.parameters())), sum(map(Tensor.numel, frozen))

    @torch.no_grad()
    def encode(self, noise: Tensor, prompt_embeds: Tensor) -> Encoded:
        """Run the frozen half.

        Args:
            noise: (B, c, h, w) float32, N(0, 1).
            prompt_embeds: (B, L, D) float.
        """
        sample = self.diffusion.initial_sample(noise)
        h, skips = encode(self.unet, sample, self._timesteps(len(noise)), prompt_embeds)
        return Encoded(sample, h, skips, prompt_embeds)

    def decode(self, encoded: Encoded, reference_h: Tensor | None, reference_weight: Tensor | None) -> Tensor:
        """Run the trained half.

        Args:
            encoded: From `encode`.
            reference_h: (B, K, T, C) float32; None = no references.
            reference_weight: (B, K) float32 lambdas in [0, 1], 0 = masked; None = no references.

        Returns:
            Denoised latents (B, c, h, w) float32.
        """
        h = encoded.h
        if self.adapter is not None and reference_h is not None and reference_weight is not None:
            h = fuse(h, self.adapter(h, reference_h, reference_weight), reference_weight)
        timesteps = self._timesteps(len(h))
        output = decode(self.unet, h, encoded.skips, timesteps, encoded.prompt_embeds)
        # The last line amplifies errors (14.6 times for SD-Turbo): never in half precision.
        return self.diffusion.denoised(encoded.sample, output.float())

    def _timesteps(self, batch: int) -> Tensor:
        return torch.full((batch,), self.timestep, device=self.unet.device)
