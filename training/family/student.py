"""Distils the one-step student: it learns, from the teacher's noise, to give the teacher's latents at once.

Its h-space is trained to hold a draft: one linear layer reads from h the latents that are about to be drawn, and from
the h of a clean picture at t = 0 that picture's latents. Where the scene is known, it reads the layout too: what part
of which thing a cell shows. So the encoder, which LADD freezes, decides what stands where, and references speak the
language of h (docs/research.md has what it gave).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, smooth_l1_loss

from training.data.layout_map import CHANNELS
from training.family.config import StudentConfig
from training.family.deepen import deepen_encoder
from training.family.loop import train
from training.family.student_pairs import StudentPairs
from training.family.text_tower import TextTower
from training.ladd.diffusion import Diffusion
from training.ladd.pairs import Pairs
from training.models.split_unet import decode, encode
from training.precision import autocast

BETA = 0.1  # where smooth-L1's square ends, latent units
FRESH_NOISE = 0.2  # amplitude of new noise in that of a real picture: what was found is not quite Gaussian


class Drafts(NamedTuple):
    """What one linear layer reads from h."""

    latents: Tensor
    """(B, c, h, w)."""
    layout: Tensor
    """(B, 4, hh, hw), as `training.data.layout_map.layout_maps`."""


class DraftingUNet(nn.Module):
    """A U-Net with a linear reading of its h-space as latents and layout, for training alone."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        channels, folded = unet.config.block_out_channels, unet.config.in_channels
        self.factor = 2 ** (len(channels) - 1)
        self.reading = nn.Conv2d(channels[-1], folded * self.factor**2 + CHANNELS, kernel_size=1)

    def forward(self, sample: Tensor, timestep: Tensor, conditioning: Tensor) -> tuple[Tensor, Drafts]:
        """The model output (B, c, h, w) and the drafts."""
        h, skips = encode(self.unet, sample, timestep, conditioning)
        return decode(self.unet, h, skips, timestep, conditioning), self._read(h)

    def draft(self, sample: Tensor, timestep: Tensor, conditioning: Tensor) -> Drafts:
        """The drafts alone."""
        return self._read(encode(self.unet, sample, timestep, conditioning)[0])

    def _read(self, h: Tensor) -> Drafts:
        read = self.reading(h).float()
        return Drafts(pixel_shuffle(read[:, :-CHANNELS], self.factor), read[:, -CHANNELS:])


class _Examples(NamedTuple):
    """Some pairs."""

    noise: Tensor
    latents: Tensor
    conditioning: Tensor
    layout: Tensor
    """(B, 4, hh, hw)."""
    is_known: Tensor
    """(B, 1, 1, 1) float32: 1 where the layout is known."""


class _Deck:
    """Deals examples from pairs of one kind."""

    def __init__(self, pairs: Pairs, layouts: Tensor | None, text: TextTower) -> None:
        self.pairs, self.layouts, self.text = pairs, layouts, text
        self.input_ids, self.eos_index = text.tokenize(list(pairs.prompts))

    def deal(self, count: int, generator: torch.Generator, side: int) -> _Examples:
        rows = torch.randint(len(self.pairs), (count,), generator=generator)
        noise = self.pairs.noise(rows.tolist())
        with torch.no_grad():
            conditioning = self.text(self.input_ids[rows], self.eos_index[rows])[0]
        latents = self.pairs.latents[rows]
        if self.layouts is None:
            nothing = torch.zeros(count, CHANNELS, side, side)
            return _Examples(noise, latents, conditioning, nothing, torch.zeros(count, 1, 1, 1))
        fresh = torch.randn(noise.shape, generator=generator)
        noise = (1 - FRESH_NOISE**2) ** 0.5 * noise + FRESH_NOISE * fresh
        return _Examples(noise, latents, conditioning, self.layouts[rows], torch.ones(count, 1, 1, 1))


def distil_student(
    config: StudentConfig,
    teacher: UNet2DConditionModel,
    text: TextTower,
    scheduler: dict[str, Any],
    pairs: StudentPairs,
    work: Path,
    sample: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train a copy of the teacher on smooth-L1 between its one step, or its draft, and the teacher's latents.

    Args:
        config: Steps, batch, learning rate.
        teacher: Where the student starts from.
        text: The frozen text tower.
        scheduler: The family's scheduler settings.
        pairs: What it learns from.
        work: Folder for the checkpoint.
        sample: Draws a grid with the averaged student at a step.

    Returns:
        The moving average, in eval mode.
    """
    torch.manual_seed(0)
    lesson = _Lesson(config, teacher, text, scheduler, pairs)
    trained = train(
        lesson.student, lesson.loss_of, name="student", steps=config.steps, learning_rate=config.learning_rate,
        decay_share=0.7, checkpoint=work / "student.pt", ema=config.ema,
        sample=lambda averaged, step: sample(averaged.unet, step),
    )  # fmt: skip
    unet: UNet2DConditionModel = trained.unet
    return unet.eval().requires_grad_(False)


class _Lesson:
    """What a step of the student is told."""

    def __init__(
        self, config: StudentConfig, teacher: UNet2DConditionModel, text: TextTower, scheduler: dict[str, Any],
        pairs: StudentPairs,
    ) -> None:  # fmt: skip
        self.config, self.diffusion = config, Diffusion(scheduler)
        self.student = DraftingUNet(deepen_encoder(teacher, config.encoder_layers))
        self.drawn = _Deck(pairs.drawn, None, text)
        self.real = None if pairs.real is None else _Deck(pairs.real, pairs.layouts, text)
        self.side = int(teacher.config.sample_size) // self.student.factor
        with torch.no_grad():
            self.empty = text.encode([""])[0]

    def loss_of(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step."""
        config, side = self.config, self.side
        real = round(config.batch * config.real_share) if self.real else 0
        shares = ((self.drawn, config.batch - real), (self.real, real))
        parts = [deck.deal(count, generator, side) for deck, count in shares if deck and count]
        some = _Examples(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
        cleaned = torch.linspace(0, config.batch - 1, min(config.clean, config.batch)).long()  # of both kinds
        output, drafts, read = self._look(some, some.latents[cleaned])
        told = _distance(drafts.latents, some.latents) + _distance(read.latents, some.latents[cleaned])
        places = _layout_distance(drafts.layout, some.layout, some.is_known)
        places = places + _layout_distance(read.layout, some.layout[cleaned], some.is_known[cleaned])
        return _distance(output, some.latents) + config.draft_weight * told + config.layout_weight * places

    def _look(self, some: _Examples, clean: Tensor) -> tuple[Tensor, Drafts, Drafts]:
        """The denoised latents, the drafts of noise, and those of clean pictures."""
        noisy = self.diffusion.initial_sample(some.noise)
        timestep = torch.full((len(noisy),), self.diffusion.last_timestep)
        with autocast():
            output, drafts = self.student(noisy, timestep, some.conditioning)
            empty = self.empty.expand(len(clean), -1, -1)
            read = self.student.draft(clean, torch.zeros(len(clean), dtype=torch.int64), empty)
        return self.diffusion.denoised(noisy, output.float()), drafts, read


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    distance: Tensor = smooth_l1_loss(prediction.float(), target, beta=BETA)
    return distance


def _layout_distance(prediction: Tensor, target: Tensor, is_known: Tensor) -> Tensor:
    """Squared error where the layout is known; where there is nothing, presence alone counts."""
    error = (prediction - target).square() * is_known
    share = is_known.mean().clamp(min=1 / len(is_known))
    return (error[:, :1].mean() + (error[:, 1:] * target[:, :1]).mean()) / share
