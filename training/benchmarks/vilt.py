"""ViLT as a VQA model: a classifier over a few thousand known answers (Kim et al., 2021).

A choice's score is the logit of the label that is called so, letter case and spaces aside. A choice without a label
cannot be scored and never wins: with ViLT, TIFA's own protocol (a sentence encoder) loses less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.benchmarks.model_folders import load_tokenizer, load_whole
from training.benchmarks.vqa_model import PUBLIC, Asked

if TYPE_CHECKING:
    from PIL.Image import Image


class Vilt:
    """A ``ViltForQuestionAnswering``."""

    def __init__(self, folder: Path, *, device: str, batch: int) -> None:
        """Read a local folder in transformers' layout.

        Args:
            folder: Config with its labels, weights, tokenizer and picture processor.
            device: torch's.
            batch: Questions at a time.

        Raises:
            ValueError: A file cannot be read, or weights are missing.
        """
        from transformers import ViltForQuestionAnswering, ViltImageProcessor

        model = load_whole(ViltForQuestionAnswering, folder, option="--vqa", public=PUBLIC)
        self.tokenizer = load_tokenizer(folder)
        self.prepare: Any = ViltImageProcessor.from_pretrained(folder, local_files_only=True)
        self.model = model.to(device).eval()
        self.device, self.batch = device, batch
        self.labels = {int(index): str(label) for index, label in self.model.config.id2label.items()}
        self.indices = {_plain(label): index for index, label in self.labels.items()}

    def score_choices(self, picture: Image, asked: Sequence[Asked]) -> list[list[float]]:
        """Return the logit of each choice of each question, -infinity where no label is called so."""
        logits = self._classify(picture, [one.question for one in asked])
        indices = [[self.indices.get(_plain(choice)) for choice in one.choices] for one in asked]
        return [
            [-math.inf if index is None else float(row[index]) for index in some]
            for row, some in zip(logits, indices, strict=True)
        ]

    def answer_freely(self, picture: Image, questions: Sequence[str]) -> list[str]:
        """Return the likeliest label for each question."""
        return [self.labels[index] for index in self._classify(picture, questions).argmax(dim=1).tolist()]

    @torch.inference_mode()
    def _classify(self, picture: Image, questions: Sequence[str]) -> Tensor:
        """(Q, labels) float32 on the CPU."""
        parts = []
        # transformers shuffles the patches, which changes the last digits: always in the same way, please.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for first in range(0, len(questions), self.batch):
                some = list(questions[first : first + self.batch])
                words = self.tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(
                    self.device
                )
                seen = self.prepare([picture] * len(some), return_tensors="pt").to(self.device)
                parts.append(self.model(**words, **seen).logits.float().cpu())
        return torch.cat(parts)


def _plain(words: str) -> str:
    return " ".join(words.lower().split())
