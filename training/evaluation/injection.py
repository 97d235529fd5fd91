"""Draws by direct injection of references into h: the paper's training-free way, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from training.data.render import Pixels
from training.evaluation.drawing import decode_latents
from training.evaluation.references import PromptReferences
from training.family.folder import Family
from training.ladd.diffusion import Diffusion
from training.ladd.library import TrainingLibrary
from training.ladd.pairs import noise_of_seeds
from training.models.slerp import combine_references, slerp
from training.models.split_unet import apply_mid, decode, encode_down, latent_shape

CHUNK = 128
Tap = Literal["output", "input"]
"""Of the mid-block: where h is taken and put back. The paper, and Asyrp: its output."""


class WholeFeatures:
    """A library's features at t = 0 with their captions, unpooled and unrounded, made once per tap."""

    def __init__(self, family: Family, library: TrainingLibrary) -> None:
        self.family, self.library = family, library
        self._known: dict[Tap, Tensor] = {}

    def read(self, rows: Tensor, tap: Tap) -> Tensor:
        """Look entries up.

        Args:
            rows: (B, K) int64.
            tap: Before or after the mid-block.

        Returns:
            (B, K, C, H, W) float32.
        """
        if tap not in self._known:
            everything = torch.split(torch.arange(len(self.library)), CHUNK)
            self._known[tap] = torch.cat([self._encode(some, tap) for some in everything])
        return self._known[tap][rows]

    @torch.no_grad()
    def _encode(self, rows: Tensor, tap: Tap) -> Tensor:
        unet = self.family.unet
        embeds = self.family.text.encode([self.library.captions[row] for row in rows.tolist()])[0]
        clean = torch.zeros(len(rows), dtype=torch.int64)
        h, _ = encode_down(unet, self.library.latents[rows], clean, embeds)
        return apply_mid(unet, h, clean, embeds) if tap == "output" else h


@torch.no_grad()
def draw_with_slerp(
    family: Family,
    features: WholeFeatures,
    references: PromptReferences,
    prompts: Sequence[str],
    seeds: Sequence[int],
    indices: Sequence[int],
    *,
    strength: float,
    tap: Tap,
) -> Pixels:
    """Draw in one step, h turned towards the references.

    Args:
        family: The base.
        features: Of its library.
        references: Of all prompts.
        prompts: B prompts.
        seeds: B seeds: the noise.
        indices: Which of all prompts they are.
        strength: Share of the references, in [0, 1].
        tap: Where they are put in.

    Returns:
        (B, H, W, 3) uint8.
    """
    diffusion, unet = Diffusion(family.scheduler), family.unet
    sample = diffusion.initial_sample(noise_of_seeds(seeds, latent_shape(unet)))
    timesteps = torch.full((len(seeds),), diffusion.last_timestep)
    embeds, _ = family.text.encode(list(prompts))
    theirs = features.read(torch.from_numpy(references.rows[list(indices)]), tap)
    combined = combine_references(theirs, torch.from_numpy(references.weights[list(indices)]))
    h, skips = encode_down(unet, sample, timesteps, embeds)
    if tap == "input":
        h = slerp(h, combined, strength)
    h = apply_mid(unet, h, timesteps, embeds)
    if tap == "output":
        h = slerp(h, combined, strength)
    return decode_latents(family, diffusion.denoised(sample, decode(unet, h, skips, timesteps, embeds)))
