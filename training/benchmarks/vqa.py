"""Asks a VQA model multiple-choice questions about pictures.

Two protocols. **Likelihood** (the default): the model scores every choice, and the best one is the answer. No words
are lost between what the model means and what the choices are called, and no second model decides. **Nearest**: TIFA's
own (Hu et al., 2023, section 3.3): the model answers in its own words, and a sentence encoder picks the nearest choice;
slower, but it is what published TIFA scores were made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.benchmarks.model_folders import hash_folder, require_files
from training.benchmarks.vqa_model import LAYOUT, PUBLIC, Answer, Asked, VqaModel

if TYPE_CHECKING:
    from PIL.Image import Image

    from training.benchmarks.nearest_choice import NearestChoice


def load_vqa(folder: Path, *, device: str, batch: int) -> VqaModel:
    """Load a VQA model in transformers' layout; nothing comes from a network.

    Args:
        folder: Of a ``BlipForQuestionAnswering`` or ``ViltForQuestionAnswering``.
        device: torch's.
        batch: Questions at a time, where the model can.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The folder holds another kind of model, or files that cannot be read.
    """
    require_files(folder, LAYOUT, option="--vqa", public=PUBLIC)
    kind = model_type(folder)
    if kind == "blip":
        from training.benchmarks.blip import Blip

        return Blip(folder, device=device)
    if kind == "vilt":
        from training.benchmarks.vilt import Vilt

        return Vilt(folder, device=device, batch=batch)
    raise ValueError(f"--vqa {folder}: model_type {kind!r}; allowed are blip and vilt, for example {PUBLIC}")


def model_type(folder: Path) -> str:
    """What config.json calls the model.

    Raises:
        ValueError: It is no JSON object.
    """
    path = folder / "config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a transformers config ({error}); download the folder again") from error


def answer_questions(
    model: VqaModel, picture: Image, asked: Sequence[Asked], nearest: NearestChoice | None
) -> list[Answer]:
    """Answer questions about one picture.

    Args:
        model: The VQA model.
        picture: RGB.
        asked: One or more questions, each with choices.
        nearest: Picks the choice that is nearest to the model's own words; None: the model scores the choices.
    """
    if nearest is not None:
        words = model.answer_freely(picture, [one.question for one in asked])
        return [Answer(nearest.pick(said, one.choices), said) for said, one in zip(words, asked, strict=True)]
    scored = model.score_choices(picture, asked)
    picked = [_best(one.choices, scores) for one, scores in zip(asked, scored, strict=True)]
    return [Answer(choice, choice) for choice in picked]


def vqa_protocol(folder: Path, sentence_encoder: Path | None) -> dict[str, str]:
    """How answers are made, as JSON values; other answers than these are not comparable."""
    protocol = {"model": model_type(folder), "folder": folder.name, "sha256": hash_folder(folder)}
    if sentence_encoder is None:
        return protocol | {"choice": "likeliest under the VQA model"}
    return protocol | {
        "choice": "nearest to the VQA model's own words (TIFA's protocol)",
        "sentence_encoder": sentence_encoder.name,
        "sentence_encoder_sha256": hash_folder(sentence_encoder),
    }


def _best(choices: Sequence[str], scores: Sequence[float]) -> str:
    best = max(range(len(choices)), key=lambda index: scores[index])
    return choices[best] if scores[best] > -math.inf else ""
