"""Distils the one-step student: it learns, from the teacher's noise, to give the teacher's latents at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
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
from training.ladd.pairs import PairRecipe, Pairs, PairShards
from training.ladd.synthesize import noise_of_seeds, synthesize_pairs
from training.precision import autocast

SHARD = 500
FIRST_SCENE = 1_000_000  # captions that the teacher was not trained on
PAIR_BATCH = 32


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
    )  # fmt: skip
    whole = -(-student.pairs // SHARD) * SHARD  # whole shards are made: more pairs may be asked for later
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
    """Train a copy of the teacher on smooth-L1 between its one step and the teacher's latents of the same noise.

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
    student = copy.deepcopy(teacher).requires_grad_(True)
    diffusion = Diffusion(scheduler)
    tokens = Captions(*text.tokenize(list(pairs.prompts)))
    _, channels, height, width = pairs.latents.shape
    shape = (channels, height, width)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pairs), (config.batch,), generator=generator)
        noisy = diffusion.initial_sample(noise_of_seeds(pairs.seeds[rows], shape))
        with torch.no_grad():
            conditioning, _ = text(tokens.input_ids[rows], tokens.eos_index[rows])
        with autocast():
            output = student(noisy, diffusion.last_timestep, encoder_hidden_states=conditioning).sample
        denoised = diffusion.denoised(noisy, output.float())
        return nn.functional.smooth_l1_loss(denoised, pairs.latents[rows], beta=0.1)

    trained: UNet2DConditionModel = train(
        student, loss_of, name="student", steps=config.steps, learning_rate=config.learning_rate, decay_share=0.7,
        checkpoint=work / "student.pt", ema=config.ema, sample=sample,
    )  # fmt: skip
    return trained.eval().requires_grad_(False)
