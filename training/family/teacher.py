"""Trains the many-step teacher: v-prediction on latents, conditioned by cross-attention alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from training.family.config import FamilyConfig
from training.family.latents import LatentCache
from training.family.loop import train
from training.family.shapes import SCHEDULER, new_unet
from training.family.text_tower import TextTower
from training.models.split_unet import decode, encode
from training.precision import autocast

CONCEPT_WEIGHT = 0.2


@dataclass(frozen=True)
class Captions:
    """The token ids of all training captions, and of the empty one at the end."""

    input_ids: Tensor
    """(N + 1, 77) int64."""
    eos_index: Tensor
    """(N + 1,) int64."""


class SemanticUNet(nn.Module):
    """A U-Net with a linear reading of its h-space, for training alone.

    The reading says which concept stands in each cell. Aligning an inner layer with what a recogniser knows makes
    diffusion models learn content many times faster (REPA, Yu et al. 2024); here the scenes tell it themselves. It also
    makes h say what a picture shows, which is what references are looked up for.
    """

    def __init__(self, unet: UNet2DConditionModel, concepts: int) -> None:
        super().__init__()
        self.unet = unet
        self.reading = nn.Conv2d(unet.config.block_out_channels[-1], concepts + 1, kernel_size=1)

    def forward(self, sample: Tensor, timestep: Tensor, conditioning: Tensor) -> tuple[Tensor, Tensor]:
        """The model output (B, c, h, w), and logits (B, concepts + 1, h', w') of what stands where."""
        h, skips = encode(self.unet, sample, timestep, conditioning)
        return decode(self.unet, h, skips, timestep, conditioning), self.reading(h)


def train_teacher(
    config: FamilyConfig,
    text: TextTower,
    captions: tuple[str, ...],
    cache: LatentCache,
    work: Path,
    sample: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train the teacher.

    Args:
        config: Shapes and training.
        text: The frozen text tower.
        captions: One per row of the cache.
        cache: Latents and concept maps.
        work: Folder for the checkpoint.
        sample: Draws a grid with the averaged teacher at a step.

    Returns:
        The moving average, in eval mode.
    """
    torch.manual_seed(config.seed)
    model = SemanticUNet(new_unet(config), len(config.world.names))
    model.unet.set_attn_processor(
        AttnProcessor()
    )  # its backward is faster on a CPU than the fused attention's
    tokens = Captions(*text.tokenize([*captions, ""]))
    alphas_cumprod = DDIMScheduler.from_config(SCHEDULER).alphas_cumprod

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        return teacher_loss(config, model, text, tokens, cache, alphas_cumprod, generator)

    trained = train(
        model, loss_of, name="teacher", steps=config.teacher.steps, learning_rate=config.teacher.learning_rate,
        decay_share=config.teacher.decay_share, checkpoint=work / "teacher.pt", ema=config.teacher.ema,
        sample=lambda averaged, step: sample(averaged.unet, step),
    )  # fmt: skip
    unet: UNet2DConditionModel = trained.unet
    return unet.eval().requires_grad_(False)


def teacher_loss(
    config: FamilyConfig,
    model: nn.Module,
    text: TextTower,
    tokens: Captions,
    cache: LatentCache,
    alphas_cumprod: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """The v-prediction loss (Salimans and Ho 2022, appendix D) and the reading's cross-entropy, on a random batch.

    ``x_t = sqrt(a) x_0 + sqrt(1 - a) noise``, ``v = sqrt(a) noise - sqrt(1 - a) x_0``, ``a = alphas_cumprod[t]``.
    """
    batch = config.teacher.batch
    rows = torch.randint(len(cache), (batch,), generator=generator)
    latents = cache.latents[rows].float()
    noise = torch.randn(latents.shape, generator=generator)
    timestep = draw_timesteps(batch, len(alphas_cumprod), config.teacher.high_noise_share, generator)
    root = alphas_cumprod[timestep].sqrt().view(-1, 1, 1, 1)
    other = (1 - alphas_cumprod[timestep]).sqrt().view(-1, 1, 1, 1)
    dropped = torch.rand(batch, generator=generator) < config.teacher.caption_dropout
    caption = torch.where(dropped, len(tokens.input_ids) - 1, rows)
    with torch.no_grad():
        conditioning, _ = text(tokens.input_ids[caption], tokens.eos_index[caption])
    with autocast():
        output, reading = model(root * latents + other * noise, timestep, conditioning)
    velocity = root * noise - other * latents
    content = nn.functional.cross_entropy(reading.float(), cache.concept_maps[rows].long())
    return nn.functional.mse_loss(output.float(), velocity) + CONCEPT_WEIGHT * content


def draw_timesteps(batch: int, steps: int, high_noise_share: float, generator: torch.Generator) -> Tensor:
    """Timesteps (batch,) int64: uniform, but for a share that is drawn with density rising with the noise."""
    uniform = torch.rand(batch, generator=generator)
    leaning = torch.rand(batch, generator=generator) < high_noise_share
    return (torch.where(leaning, uniform.sqrt(), uniform) * steps).long().clamp(max=steps - 1)
