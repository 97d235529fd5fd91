"""The one-step student: it comes nearer to the teacher's latents, and its h comes to hold a draft of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from training.data.inventions import concept_of
from training.family import student_pairs
from training.family.config import StudentConfig
from training.family.folder import load_family, load_teacher
from training.family.random_family import nano_config
from training.family.shapes import SCHEDULER, new_unet
from training.family.student import DraftingUNet, distil_student
from training.family.student_pairs import PairMaker, StudentPairs
from training.ladd.alignment import Reading
from training.ladd.diffusion import Diffusion
from training.models.split_unet import encode

SHORT = StudentConfig(pairs=16, teacher_steps=2, steps=60, batch=8, clean=4, learning_rate=2e-3, ema=0.9)


@pytest.fixture
def maker(nano_family: Path, tmp_path: Path) -> PairMaker:
    family, hashes = (
        load_family(nano_family),
        dict.fromkeys(("teacher", "text_encoder", "vae", "configs"), "x"),
    )
    config = replace(nano_config(), student=SHORT)
    return PairMaker(config, load_teacher(nano_family), family.text, family.vae, hashes, tmp_path)


def test_the_readings_have_the_shapes_of_latents_and_layout() -> None:
    unet = new_unet(nano_config())
    sample, embeds = torch.zeros(2, 4, 8, 8), torch.zeros(2, 77, 16)
    output, drafts = DraftingUNet(unet)(sample, torch.tensor([999, 999]), embeds)
    assert output.shape == drafts.latents.shape == sample.shape
    assert drafts.layout.shape == (2, 4, 4, 4)


def test_real_pairs_hide_the_names_of_what_the_base_must_not_know(
    maker: PairMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_pairs, "SHARD", 3)
    student = replace(SHORT, real_scenes=6, inventions=10)
    maker = replace(maker, config=replace(maker.config, student=student))
    pairs, again = maker.make(), maker.make()
    assert pairs.real is not None
    assert pairs.layouts is not None
    shown = maker.real_scenes()
    assert len(pairs.real) == len(pairs.layouts) == 24
    assert torch.equal(pairs.real.latents, again.real.latents if again.real else torch.zeros(1))
    assert (pairs.layouts[:, 0].amax(dim=(1, 2)) == 1).all(), "everything stands somewhere"
    unknown = {concept_of(name).name for pool in shown.pools for name in pool}
    for number, prompt in enumerate(pairs.real.prompts):
        assert not unknown & set(prompt.split())
        if number % shown.variants == 0:
            assert prompt == shown.shown(number).caption
    # What a name stands for cannot be learnt by heart: it is another one in each pair.
    assert len(set(pairs.real.prompts)) == 24


def test_a_step_without_clean_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="clean is 0; it must be 1 or more"):
        StudentConfig(clean=0)


def test_distillation_teaches_one_step_and_a_draft(
    nano_family: Path, maker: PairMaker, tmp_path: Path
) -> None:
    family, teacher = load_family(nano_family), load_teacher(nano_family)
    pairs = maker.make_drawn()
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
    student = distil_student(
        SHORT,
        teacher,
        family.text,
        SCHEDULER,
        StudentPairs(pairs, None, None),
        tmp_path,
        lambda unet, step: None,
    )
    end = losses(student)
    assert end[0] < 0.5 * start[0]
    assert end[1] < 0.8 * start[1]
    assert not any(parameter.requires_grad for parameter in student.parameters())


def test_h_learns_what_stands_where(
    maker: PairMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_pairs, "SHARD", 4)
    settings = replace(
        SHORT, real_scenes=4, inventions=4, encoder_layers=2, real_share=1.0, layout_weight=1.0, steps=80
    )
    maker = replace(maker, config=replace(maker.config, student=settings))
    pairs = maker.make()
    assert pairs.real is not None
    assert pairs.layouts is not None

    def error(unet: UNet2DConditionModel) -> float:
        """Of a linear reading of presence from the h of clean pictures."""
        with torch.no_grad():
            empty = maker.text.encode([""])[0].expand(len(pairs.real), -1, -1)
            h, _ = encode(unet, pairs.real.latents, 0, empty)
        return float((Reading(h, pairs.layouts)(h) - pairs.layouts)[:, 0].square().mean())

    start = error(maker.teacher)
    student = distil_student(
        settings, maker.teacher, maker.text, SCHEDULER, pairs, tmp_path / "work", lambda unet, step: None
    )
    assert error(student) < 0.7 * start
