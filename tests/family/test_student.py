"""The one-step student: it comes nearer to the teacher's latents, and its h comes to hold a draft of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from training.family.config import StudentConfig
from training.family.folder import load_family, load_teacher
from training.family.random_family import nano_config
from training.family.shapes import SCHEDULER, new_unet
from training.family.student import DraftingUNet, distil_student, make_pairs
from training.ladd.alignment import Reading
from training.ladd.diffusion import Diffusion
from training.models.split_unet import encode

SHORT = StudentConfig(pairs=16, teacher_steps=2, steps=60, batch=8, clean=4, learning_rate=2e-3, ema=0.9)


def test_the_reading_has_the_shape_of_the_latents() -> None:
    unet = new_unet(nano_config())
    sample, embeds = torch.zeros(2, 4, 8, 8), torch.zeros(2, 77, 16)
    output, draft = DraftingUNet(unet)(sample, torch.tensor([999, 999]), embeds)
    assert output.shape == draft.shape == sample.shape


def test_a_step_without_clean_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="clean is 0; it must be 1 or more"):
        StudentConfig(clean=0)


def test_distillation_teaches_one_step_and_a_draft(nano_family: Path, tmp_path: Path) -> None:
    family, teacher = load_family(nano_family), load_teacher(nano_family)
    config = replace(nano_config(), student=SHORT)
    pairs = make_pairs(config, teacher, family.text, {"teacher": "t", "text_encoder": "e"}, tmp_path)
    diffusion = Diffusion(SCHEDULER)
    with torch.no_grad():
        embeds, _ = family.text.encode(list(pairs.prompts))
    noisy = diffusion.initial_sample(pairs.noise(range(len(pairs))))

    @torch.no_grad()
    def losses(unet: UNet2DConditionModel) -> tuple[float, float]:
        drawn = diffusion.denoised(
            noisy, unet(noisy, diffusion.last_timestep, encoder_hidden_states=embeds).sample
        )
        h, _ = encode(unet, noisy, diffusion.last_timestep, embeds)
        draft = Reading(h, pairs.latents)(h)
        one_step = nn.functional.mse_loss(drawn, pairs.latents)
        return float(one_step), float(nn.functional.mse_loss(draft, pairs.latents))

    start = losses(teacher)
    student = distil_student(SHORT, teacher, family.text, SCHEDULER, pairs, tmp_path, lambda unet, step: None)
    end = losses(student)
    assert end[0] < 0.5 * start[0]
    assert end[1] < 0.8 * start[1]
    assert not any(parameter.requires_grad for parameter in student.parameters())
