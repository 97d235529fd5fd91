"""What is asked of a VQA model, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from training.benchmarks.model_folders import WEIGHTS

if TYPE_CHECKING:
    from PIL.Image import Image

LAYOUT = (("config.json",), ("preprocessor_config.json",), WEIGHTS, ("tokenizer.json", "vocab.txt"))
PUBLIC = "Salesforce/blip-vqa-capfilt-large, Salesforce/blip-vqa-base or dandelin/vilt-b32-finetuned-vqa"


@dataclass(frozen=True)
class Asked:
    """What a VQA model gets to see of a question."""

    question: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What it said."""

    choice: str
    """One of the choices; empty where the model has no word for any of them."""
    free_form: str
    """In its own words; the choice itself where it only scored choices."""


class VqaModel(Protocol):
    """A model that answers questions about a picture."""

    def score_choices(self, picture: Image, asked: Sequence[Asked]) -> list[list[float]]:
        """Score each choice of each question: higher is likelier, -infinity where it has no word for it."""

    def answer_freely(self, picture: Image, questions: Sequence[str]) -> list[str]:
        """Answer each question in its own words."""
