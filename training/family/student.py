"""Distils the one-step student: it learns, from the teacher's noise, to give the teacher's latents at once.

Its h-space is trained to hold a draft: one linear layer reads from h the latents that are about to be drawn, and from
the h of a clean picture at t = 0 that picture's latents. So the encoder, which LADD freezes, decides what stands where,
and references speak the language of h (docs/research.md has what it gave).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from tqdm import tqdm

from training.data.splits import scene
from training.data.world import World
from training.family.config import FamilyConfig, StudentConfig
from training.family.loop import train
from training.family.shapes import SCHEDULER
from training.family.teacher import Captions
from training.family.text_tower import TextTower
from training.ladd.diffusion import Diffusion
from training.ladd.pairs import PairRecipe, Pairs, PairShards, whole_shards
from training.ladd.synthesize import noise_of_seeds, synthesize_pairs
from training.models.split_unet import decode, encode
from training.precision import autocast, bf16_is_faster

SHARD = 500
FIRST_SCENE = 1_000_000  # captions that the teacher was not trained on
PAIR_BATCH = 32
BETA = 0.1  # where smooth-L1's square ends, latent units


class DraftingUNet(nn.Module):
    """A U-Net with a linear reading of its h-space as latents, for training alone."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        channels, folded = unet.config.block_out_channels, unet.config.in_channels
        self.factor = 2 ** (len(channels) - 1)
        self.reading = nn.Conv2d(channels[-1], folded * self.factor**2, kernel_size=1)

    def forward(self, sample: Tensor, timestep: Tensor, conditioning: Tensor) -> tuple[Tensor, Tensor]:
        """The model output and the draft of the latents, both (B, c, h, w)."""
        h, skips = encode(self.unet, sample, timestep, conditioning)
        return decode(self.unet, h, skips, timestep, conditioning), self._read(h)

    def draft(self, sample: Tensor, timestep: Tensor, conditioning: Tensor) -> Tensor:
        """The draft alone."""
        return self._read(encode(self.unet, sample, timestep, conditioning)[0])

    def _read(self, h: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.reading(h), self.factor)


def make_pairs(
    config: FamilyConfig, teacher: UNet2DConditionModel, text: TextTower, hashes: dict[str, str], work: Path
) -> Pairs:
    """Let the teacher draw the pairs that are still missing, and read them all.

    Args:
        config: Number of pairs, sampler steps, guidance.
        teacher: The frozen teacher.
        text: The frozen text tower.
        hashes: ``teacher`` and ``text_encoder``: pairs of another teacher are refused.
        work: Folder of the shards.

    Returns:
        As many pairs as the config says.

    Raises:
        ValueError: The folder holds pairs of another recipe, or a bad shard.
        OSError: The disk is full or the folder cannot be written.
    """
    shape = (teacher.config.in_channels, teacher.config.sample_size, teacher.config.sample_size)
    student = config.student
    shards = PairShards(
        work / "pairs",
        PairRecipe(
            teacher=hashes["teacher"], text_encoder=hashes["text_encoder"], steps=student.teacher_steps,
            guidance_scale=student.guidance_scale, latent_shape=shape, first_seed=0,
            prompts=f"{config.name} train scenes {FIRST_SCENE}..", shard_size=SHARD,
        ),
    )  # fmt: skip
    sample = partial(
        synthesize_pairs, teacher, text, SCHEDULER, steps=student.teacher_steps,
        guidance_scale=student.guidance_scale, latent_shape=shape, batch=PAIR_BATCH,
        bf16=bf16_is_faster(),
    )  # fmt: skip
    whole = whole_shards(student.pairs, SHARD)
    with tqdm(total=whole, desc="pairs", unit="pair") as bar:
        shards.fill(whole, partial(_prompt, config.world), sample, on_progress=bar.update)
    return shards.load(student.pairs)


def _prompt(world: World, pair: int) -> str:
    return scene(world, "train", FIRST_SCENE + pair).caption


def distil_student(
    config: StudentConfig,
    teacher: UNet2DConditionModel,
    text: TextTower,
    scheduler: dict[str, Any],
    pairs: Pairs,
    work: Path,
    sample: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train a copy of the teacher on smooth-L1 between its one step, or its draft, and the teacher's latents.

    Args:
        config: Steps, batch, learning rate.
        teacher: Where the student starts from.
        text: The frozen text tower.
        scheduler: The family's scheduler settings.
        pairs: What the teacher drew.
        work: Folder for the checkpoint.
        sample: Draws a grid with the averaged student at a step.

    Returns:
        The moving average, in eval mode.
    """
    torch.manual_seed(0)
    student = DraftingUNet(copy.deepcopy(teacher).requires_grad_(True))
    student.unet.set_attn_processor(AttnProcessor())
    diffusion = Diffusion(scheduler)
    tokens = Captions(*text.tokenize([*pairs.prompts, ""]))
    _, channels, height, width = pairs.latents.shape
    shape = (channels, height, width)

    def embed(rows: Tensor) -> Tensor:
        with torch.no_grad():
            conditioning: Tensor = text(tokens.input_ids[rows], tokens.eos_index[rows])[0]
        return conditioning

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pairs), (config.batch,), generator=generator)
        noisy = diffusion.initial_sample(noise_of_seeds(pairs.seeds[rows], shape))
        latents, clean = pairs.latents[rows], pairs.latents[rows[: config.clean]]
        timestep = torch.full((config.batch,), diffusion.last_timestep)
        with autocast():
            output, draft = student(noisy, timestep, embed(rows))
            empty = embed(torch.tensor([len(pairs)])).expand(len(clean), -1, -1)
            read = student.draft(clean, torch.zeros(len(clean), dtype=torch.int64), empty)
        denoised = diffusion.denoised(noisy, output.float())
        drafts = _distance(draft, latents) + _distance(read, clean)
        loss: Tensor = _distance(denoised, latents) + config.draft_weight * drafts
        return loss

    trained = train(
        student, loss_of, name="student", steps=config.steps, learning_rate=config.learning_rate, decay_share=0.7,
        checkpoint=work / "student.pt", ema=config.ema,
        sample=lambda averaged, step: sample(averaged.unet, step),
    )  # fmt: skip
    unet: UNet2DConditionModel = trained.unet
    return unet.eval().requires_grad_(False)


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    distance: Tensor = nn.functional.smooth_l1_loss(prediction.float(), target, beta=BETA)
    return distance
