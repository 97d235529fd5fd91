"""Picks the choice that is nearest in meaning to an answer, as TIFA does: by a sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from training.benchmarks.model_folders import WEIGHTS, load_tokenizer, load_whole, require_files

LAYOUT = (("config.json",), WEIGHTS, ("tokenizer.json", "vocab.txt"))
PUBLIC = "sentence-transformers/all-mpnet-base-v2, which TIFA takes"


class NearestChoice:
    """A sentence encoder: mean over the tokens' last states, compared by cosine (Reimers and Gurevych, 2019)."""

    def __init__(self, folder: Path, *, device: str) -> None:
        """Read a local folder in transformers' layout.

        Args:
            folder: Config, weights and tokenizer.
            device: torch's.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file cannot be read, or weights are missing.
        """
        from transformers import AutoModel

        require_files(folder, LAYOUT, option="--sentence-encoder", public=PUBLIC)
        # The pooler's output is not used: the mean over the tokens is.
        model = load_whole(AutoModel, folder, option="--sentence-encoder", public=PUBLIC, unused="pooler.")
        self.tokenizer = load_tokenizer(folder)
        self.model, self.device = model.to(device).eval(), device

    def pick(self, words: str, choices: Sequence[str]) -> str:
        """Return the choice that is said word for word, else the nearest one."""
        if words in choices:
            return words
        said, *others = self.embed([words, *choices])
        return choices[int((torch.stack(others) @ said).argmax())]

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: (N, E) float32 on the CPU, of length 1."""
        inputs = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(
            self.device
        )
        states = self.model(**inputs).last_hidden_state  # (N, L, E)
        counts = inputs.attention_mask[:, :, None].float()
        mean = (states * counts).sum(dim=1) / counts.sum(dim=1)
        return nn.functional.normalize(mean.float(), dim=1).cpu()
