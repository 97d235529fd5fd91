"""The reference library as training sees it: captions, latents, retrieval keys, features in h-space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ragturbo_runtime.library.feature_rows import encode_int8, scale_of
from training.data.render import draw_batch
from training.ladd.frozen import is_halved
from training.ladd.product_codes import lose_to_product_codes
from training.models.split_unet import encode

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training.data.scene import Scene
    from training.family.text_tower import TextTower


Codec = Literal["int8", "float16", "float32", "product"]
"""How features are kept: in int8 and float16 as a bundle can, in float32 unrounded, in product codes for a trial."""


@dataclass(frozen=True)
class TrainingLibrary:
    """Captioned pictures, encoded. Row i of every field belongs to entry i."""

    captions: tuple[str, ...]
    latents: Tensor
    """(N, c, h, w) float32, scaled; the VAE's mode, no noise."""
    keys: Tensor
    """(N, E) float32, of length 1: the captions' CLIP text embeddings."""
    lent: int = 0
    """How many of the last entries are lent for training and in no bundle."""

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.captions)

    @property
    def own(self) -> int:
        """How many of the first entries a bundle will hold."""
        return len(self) - self.lent

    def with_lent(self, other: TrainingLibrary) -> TrainingLibrary:
        """Put entries for training alone behind the own ones."""
        return TrainingLibrary(
            self.captions + other.captions,
            torch.cat([self.latents, other.latents]),
            torch.cat([self.keys, other.keys]),
            lent=self.lent + len(other),
        )


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pixels: Tensor, *, batch: int = 64) -> Tensor:
    """Encode pictures as reference latents.

    Args:
        vae: The family's autoencoder.
        pixels: (N, 3, H, W) float32 in [-1, 1].
        batch: Pictures at a time.

    Returns:
        (N, c, h, w) float32 on the CPU: the posterior's mode (never a sample: a cache must be reproducible),
        scaled.
    """
    device = next(vae.parameters()).device
    parts = [vae.encode(some.to(device)).latent_dist.mode().cpu() for some in torch.split(pixels, batch)]
    return torch.cat(parts) * float(vae.config.scaling_factor)


def encode_scenes(vae: AutoencoderKL, scenes: list[Scene], resolution: int) -> Tensor:
    """Draw scenes and encode them: (N, c, h, w) float32 on the CPU, as `encode_pictures`."""
    return encode_pictures(vae, torch.from_numpy(draw_batch(scenes, resolution)))


@torch.no_grad()
def encode_keys(text: TextTower, texts: Sequence[str], *, batch: int = 256) -> Tensor:
    """Encode captions or queries as retrieval keys.

    Args:
        text: The family's text tower.
        texts: N strings.
        batch: Strings at a time; they are cut to the longest of their batch (attention is causal: padding has
            no say).

    Returns:
        (N, E) float32 on the CPU, of length 1.
    """
    parts = []
    for first in range(0, len(texts), batch):
        input_ids, eos_index = text.tokenize(list(texts[first : first + batch]))
        device = text.clip.text_projection.device
        length = int(eos_index.max()) + 1
        parts.append(text(input_ids[:, :length].to(device), eos_index.to(device))[1].float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def bottleneck_tokens(
    unet: UNet2DConditionModel, latents: Tensor, prompt_embeds: Tensor, timestep: int, *, pool: int = 1
) -> Tensor:
    """What clean latents show in h-space: the base encoder's bottleneck, as tokens.

    Args:
        unet: The student; LoRA on its decoder does not matter, the encoder is the base's.
        latents: (B, c, h, w) float32, without noise.
        prompt_embeds: (B, L, D) float32, of the captions or of the empty prompt.
        timestep: In [0, N).
        pool: Side of the square of cells whose mean is one token.

    Returns:
        (B, T, C) float32, row-major.

    Raises:
        ValueError: The pool does not divide the sides of h.
    """
    timesteps = torch.full((len(latents),), timestep, device=latents.device)
    h, _ = encode(unet, latents, timesteps, prompt_embeds)
    if h.shape[2] % pool or h.shape[3] % pool:
        raise ValueError(
            f"reference_pool={pool} does not divide the h-space of {h.shape[2]} x {h.shape[3]}; choose a divisor"
        )
    return avg_pool2d(h.float(), pool).flatten(2).transpose(1, 2)


class ReferenceFeatures:
    """The library's features, computed once, and fresh ones for captions that masking changed.

    Args:
        unet: The student.
        text: The family's text tower.
        library: The entries.
        timestep: In [0, N), at which features are taken.
        caption: "caption": with each entry's caption; "empty": with the empty prompt (then none is ever
            fresh).
        pool: Side of the square of h-space cells whose mean is one token.
        codec: "int8" stores and rounds as the runtime does; "float16" to eleven bits; "float32" does not round;
            "product" for features that masking does not change: `product_codes`.
        bf16: Compute fresh features under bfloat16 autocast; the stored ones are float32's where the weights are.
        batch: Entries at a time.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text: TextTower,
        library: TrainingLibrary,
        *,
        timestep: int,
        caption: Literal["caption", "empty"],
        pool: int = 1,
        codec: Codec = "int8",
        bf16: bool = False,
        batch: int = 64,
    ) -> None:
        self.unet, self.text, self.library = unet, text, library
        self.timestep, self.caption, self.pool, self.bf16 = timestep, caption, pool, bf16
        rows, halved = torch.split(torch.arange(len(library)), batch), is_halved(unet)
        # What is kept is computed as the exported encoder computes it: in float32, unless the weights are not.
        whole = torch.cat(
            [
                self._compute(some, [library.captions[row] for row in some.tolist()], bf16=halved).cpu()
                for some in rows
            ]
        )
        self.codec = codec
        self.scale = scale_of(whole[: library.own].numpy())  # (C,) float32, the bundle's
        self.stored = self._kept(whole)

    def read(self, rows: Tensor, changed: dict[tuple[int, int], str]) -> Tensor:
        """Give the features of a batch's references.

        Args:
            rows: (B, K) int64 entries.
            changed: Masked captions by (place in the batch, place among its references).

        Returns:
            (B, K, T, C) float32 on the U-Net's device.
        """
        features = self._restored(self.stored[rows]).to(self.unet.device)
        if self.caption == "caption" and changed:
            places = torch.tensor(list(changed), dtype=torch.int64)  # (M, 2)
            fresh = self._compute(rows[places[:, 0], places[:, 1]], list(changed.values()), bf16=self.bf16)
            if self.codec == "int8":
                fresh = round_to_int8(fresh, torch.from_numpy(self.scale).to(fresh.device))
            elif self.codec == "float16":
                fresh = fresh.half().float()
            features[places[:, 0], places[:, 1]] = fresh
        return features

    def _compute(self, rows: Tensor, captions: list[str], *, bf16: bool) -> Tensor:
        device = self.unet.device
        latents = self.library.latents[rows].to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            embeds, _ = self.text.encode(captions if self.caption == "caption" else [""])
            conditioning = embeds.expand(len(rows), -1, -1)
            return bottleneck_tokens(self.unet, latents, conditioning, self.timestep, pool=self.pool)

    def _kept(self, whole: Tensor) -> Tensor:
        if self.codec == "int8":
            return torch.from_numpy(encode_int8(whole.numpy(), self.scale))
        if self.codec == "product":
            return lose_to_product_codes(whole)
        return whole.half() if self.codec == "float16" else whole

    def _restored(self, stored: Tensor) -> Tensor:
        return stored.float() * torch.from_numpy(self.scale) if self.codec == "int8" else stored.float()


def round_to_int8(features: Tensor, scale: Tensor) -> Tensor:
    """Lose what `ragturbo_runtime.library.feature_rows.encode_int8` loses, without leaving the device.

    Args:
        features: (..., C) float32.
        scale: (C,) float32, positive.

    Returns:
        (..., C) float32: multiples of the scale, at most 127 of them.
    """
    return (features / scale).round().clamp(-127, 127) * scale
