"""A retrieval-augmented diffusion model (Blattmann et al. 2022): it sees CLIP embeddings, and no words.

The U-Net attends to the prompt's own CLIP embedding and to those of the pictures that it found: 1 + K tokens. It
starts from the teacher and is trained as the teacher was; it draws in 50 steps with classifier-free guidance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.baselines.config import RdmConfig
from training.data.render import draw_batch
from training.family.loop import train
from training.family.text_tower import TextTower
from training.ladd.diffusion import Diffusion
from training.ladd.library import encode_keys
from training.precision import autocast

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.data.scene import Scene


@dataclass(frozen=True)
class EmbeddedLibrary:
    """What an RDM retrieves: row i of both fields belongs to picture i."""

    keys: Tensor
    """(N, E) float32, of length 1: the captions' CLIP embeddings."""
    pictures: Tensor
    """(N, E) float32, of length 1: the pictures' CLIP embeddings."""

    def conditioning(self, text: TextTower, prompts: Sequence[str], references: int) -> Tensor:
        """Make what the U-Net attends to.

        Args:
            text: The text tower.
            prompts: B of them.
            references: K.

        Returns:
            (B, 1 + K, E) float32, each value of variance about 1.
        """
        keys = encode_keys(text, list(prompts))
        found = (keys @ self.keys.T).topk(references, dim=1).indices
        seen: Tensor = torch.cat([keys[:, None], self.pictures[found]], dim=1) * keys.shape[1] ** 0.5
        return seen


@torch.no_grad()
def embed_library(text: TextTower, scenes: Sequence[Scene], resolution: int) -> EmbeddedLibrary:
    """Encode a library's scenes: captions by the text tower, pictures by its image tower."""
    parts = [
        text.encode_image(torch.from_numpy(draw_batch(list(scenes[first : first + 256]), resolution)))
        for first in range(0, len(scenes), 256)
    ]
    return EmbeddedLibrary(encode_keys(text, [one.caption for one in scenes]), torch.cat(parts))


def train_rdm(
    config: RdmConfig,
    teacher: UNet2DConditionModel,
    diffusion: Diffusion,
    latents: Tensor,
    conditioning: Tensor,
    work: Path,
    sample: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train a copy of the teacher on other conditioning, with the v-prediction loss (Salimans and Ho 2022).

    Args:
        config: How.
        teacher: Where it starts from.
        diffusion: The family's schedule.
        latents: (N, c, h, w), training scenes.
        conditioning: (N, 1 + K, E), from `EmbeddedLibrary.conditioning`.
        work: Folder for the checkpoint.
        sample: Draws a grid at a step.

    Returns:
        The moving average, in eval mode.
    """
    student = copy.deepcopy(teacher).requires_grad_(True)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (config.batch,), generator=generator)
        timesteps = torch.randint(diffusion.num_timesteps, (config.batch,), generator=generator)
        clean = latents[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        kept = torch.rand(config.batch, generator=generator) >= config.dropout
        share = diffusion.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
        noisy, velocity = (
            share.sqrt() * clean + (1 - share).sqrt() * noise,
            share.sqrt() * noise - (1 - share).sqrt() * clean,
        )
        seen = conditioning[rows].float() * kept.view(-1, 1, 1)
        with autocast():
            output = student(noisy, timesteps, encoder_hidden_states=seen).sample
        return nn.functional.mse_loss(output.float(), velocity)

    trained: UNet2DConditionModel = train(
        student, loss_of, name="rdm", steps=config.steps, learning_rate=config.learning_rate, decay_share=0.5,
        checkpoint=work / "rdm.pt", ema=config.ema, sample=sample,
    )  # fmt: skip
    return trained.eval().requires_grad_(False)
