"""The stages of a family in order, each skipped when its part is there, each printing its score."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from ragturbo_runtime.files import hash_file
from training.family.config import FamilyConfig
from training.family.folder import (
    HASHED,
    LATENT_CONFIGS,
    SETTINGS_FILE,
    configs_hash,
    freeze,
    read_json,
    save_json,
    save_part,
)
from training.family.parts import check_parts
from training.family.scene_cache import SceneCache, cache_scenes
from training.family.shapes import SCHEDULER, clip_config
from training.family.text_tower import load_text_tower, save_text_tower
from training.family.weight_files import DIFFUSERS_WEIGHTS

HELD_OUT = 2048
PART_FILES = {**HASHED, "teacher": f"teacher/{DIFFUSERS_WEIGHTS}"}
logger = logging.getLogger(__name__)


def train_family(config: FamilyConfig, out: Path, work: Path, *, until: str = "student") -> None:
    """Train what is missing of a family.

    Args:
        config: The family.
        out: Its folder; parts that lie there are kept.
        work: Checkpoints, caches and grids.
        until: The last stage: ``"vae"``, ``"text"``, ``"teacher"`` or ``"student"``.

    Raises:
        ValueError: Parts that lie there, or what lies in the work folder, were made with another world or other shapes.
        FloatingPointError: A loss is not finite.
        KeyboardInterrupt: SIGINT or SIGTERM came; the stage goes on from there when it is run again.
        OSError: The disk is full or a folder cannot be written.
    """
    run = FamilyRun(config, out, work)
    check_parts(config, out, [part for part, file in PART_FILES.items() if (out / file).exists()])
    stages: dict[str, tuple[str, Callable[[], dict[str, float]]]] = {
        "vae": ("vae", run.train_vae),
        "text": ("text_encoder", run.train_text),
        "teacher": ("teacher", run.train_teacher),
        "student": ("unet", run.train_student),
    }
    for stage, (part, train_stage) in stages.items():
        if not (out / PART_FILES[part]).exists():
            run.describe()  # only now: what is there was made as family.json says already
            run.record(stage, train_stage())
        if stage == until:
            return


class FamilyRun:
    """One run over the stages: what they share is made when a stage first asks for it."""

    def __init__(self, config: FamilyConfig, out: Path, work: Path) -> None:
        self.config, self.out, self.work = config, out, work

    @cached_property
    def scenes(self) -> SceneCache:
        """The training scenes."""
        return self._scenes("train", self.config.teacher.latent_cache)

    @cached_property
    def held_out(self) -> SceneCache:
        """Scenes that no stage trains on."""
        return self._scenes("validation", HELD_OUT)

    def _scenes(self, split: Any, count: int) -> SceneCache:  # noqa: ANN401 - a literal
        return cache_scenes(self.work / "scenes", self.config.world, split, count, self.config.resolution)

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The trained autoencoder."""
        model: AutoencoderKL = freeze(AutoencoderKL, self.out / "vae")
        return model

    def describe(self) -> None:
        """Write family.json and the scheduler, but keep the scores of earlier stages."""
        path = self.out / SETTINGS_FILE
        scores = read_json(path).get("scores", {}) if path.exists() else {}
        config = asdict(self.config)
        library = {"generator": "emoji", "split": "library", "count": self.config.library.count}
        settings = {"name": self.config.name, "resolution": self.config.resolution, "config": config}
        save_json(path, {**settings, "library": library, "scores": scores})
        save_json(self.out / "scheduler" / "scheduler_config.json", SCHEDULER)

    def record(self, stage: str, scores: dict[str, float]) -> None:
        """Log a stage's scores and keep them in family.json."""
        settings = read_json(self.out / SETTINGS_FILE)
        settings["scores"][stage] = {name: round(value, 4) for name, value in scores.items()}
        save_json(self.out / SETTINGS_FILE, settings)
        if scores:  # without a judge there are none
            logger.info("%s: %s", stage, ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))

    def train_vae(self) -> dict[str, float]:
        """The first stage: pictures to latents."""
        from training.family.vae import reconstruction_psnr, train_vae
        from training.family.widen import train_decoder, widen

        vae = train_vae(self.config.vae, self.scenes, self.held_out, self.work)
        if self.config.vae.decoder_steps:
            vae = train_decoder(self.config.vae, widen(vae), self.scenes, self.work)
        save_part(vae, self.out / "vae")
        return {"psnr_db": reconstruction_psnr(self.vae, self.held_out)}

    def train_text(self) -> dict[str, float]:
        """The second stage: captions to conditioning and keys."""
        from training.family.keys import tune_keys
        from training.family.nearest import save_nearest
        from training.family.text import in_batch_accuracy, train_text_tower

        tower = train_text_tower(self.config, self.scenes, self.held_out, self.work)
        if keys_steps := self.config.text.keys_steps:
            tune_keys(self.config, tower, self.scenes, self.work)
            save_nearest(
                self.work / f"text_{self.config.text.steps + keys_steps:06d}.png", tower, self.held_out
            )
        save_text_tower(
            self.out / "text_encoder", tower, clip_config(self.config.text, self.config.resolution)
        )
        return {
            "accuracy_of_256": in_batch_accuracy(load_text_tower(self.out / "text_encoder"), self.held_out)
        }

    def train_teacher(self) -> dict[str, float]:
        """The third stage: many steps from noise to latents."""
        from training.family.latents import cache_latents
        from training.family.teacher import train_teacher

        text = load_text_tower(self.out / "text_encoder")
        cache = cache_latents(self.work, self.vae, self.scenes, self.config.world)
        steps, guidance = self.config.student.teacher_steps, self.config.student.guidance_scale
        sample = self._sampler("teacher", steps, guidance)
        teacher = train_teacher(self.config, text, self.scenes.captions, cache, self.work, sample)
        save_part(teacher, self.out / "teacher")
        return self._recall(freeze(UNet2DConditionModel, self.out / "teacher"), steps, guidance)

    def train_student(self) -> dict[str, float]:
        """The fourth stage: one step from noise to latents."""
        from training.family.student import distil_student
        from training.family.student_pairs import PairMaker

        teacher = freeze(UNet2DConditionModel, self.out / "teacher")
        text = load_text_tower(self.out / "text_encoder")
        hashes = self._hashes("teacher", "text_encoder", "vae")
        hashes["configs"] = configs_hash(self.out, LATENT_CONFIGS)
        pairs = PairMaker(self.config, teacher, text, self.vae, hashes, self.work).make()
        sample = self._sampler("student", 1, 1.0)
        student = distil_student(self.config.student, teacher, text, SCHEDULER, pairs, self.work, sample)
        save_part(student, self.out / "unet")
        return self._recall(freeze(UNet2DConditionModel, self.out / "unet"), 1, 1.0)

    def _hashes(self, *parts: str) -> dict[str, str]:
        return {part: hash_file(self.out / PART_FILES[part]) for part in parts}

    def _sampler(
        self, stage: str, steps: int, guidance: float
    ) -> Callable[[UNet2DConditionModel, int], None]:
        from training.family.grid import save_grid
        from training.family.sampling import draw_prompts

        text = load_text_tower(self.out / "text_encoder")
        prompts = list(self.held_out.captions[:48])

        def sample(unet: UNet2DConditionModel, step: int) -> None:
            pixels = draw_prompts(unet.eval(), self.vae, text, prompts, steps=steps, guidance_scale=guidance)
            save_grid(self.work / f"{stage}_{step:06d}.png", pixels, columns=12)

        return sample

    def _recall(self, unet: UNet2DConditionModel, steps: int, guidance: float) -> dict[str, float]:
        """What a judge finds in the pictures of held-out prompts; nothing if there is no judge yet."""
        from training.family.sampling import recall_of

        judge = self.out / "judge.safetensors"
        if not judge.exists():
            logger.warning(
                "%s is missing: the stage is not scored (python -m training.evaluation.judge_training "
                "--config CONFIG --vae %s --out %s makes it)",
                judge,
                self.out / "vae",
                judge,
            )
            return {}
        with torch.inference_mode():
            text = load_text_tower(self.out / "text_encoder")
            return recall_of(
                unet, self.vae, text, self.config.world, judge, steps=steps, guidance_scale=guidance
            )
