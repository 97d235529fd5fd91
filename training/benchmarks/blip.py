"""BLIP as a VQA model: it generates answers, and so gives every choice a probability.

A choice's score is log p(choice | picture, question) under the answer decoder: the sum over its tokens and the end
token, as in BLIP's own ranking of answers (Li et al., 2022, section 5.3), without a correction for length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.benchmarks.model_folders import load_tokenizer, load_whole
from training.benchmarks.vqa_model import PUBLIC, Asked

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ANSWER_TOKENS = 20  # of an answer in its own words, start included: transformers' default


class Blip:
    """A ``BlipForQuestionAnswering``."""

    def __init__(self, folder: Path, *, device: str) -> None:
        """Read a local folder in transformers' layout.

        Args:
            folder: Config, weights, tokenizer and picture processor.
            device: torch's.

        Raises:
            ValueError: A file cannot be read, or weights are missing.
        """
        from transformers import BlipForQuestionAnswering, BlipImageProcessor

        model = load_whole(BlipForQuestionAnswering, folder, option="--vqa", public=PUBLIC)
        self.tokenizer = load_tokenizer(folder)
        self.prepare: Any = BlipImageProcessor.from_pretrained(folder, local_files_only=True)
        self.model, self.device = model.to(device).eval(), device
        text = self.model.config.text_config
        self.start, self.end, self.padding = text.bos_token_id, text.sep_token_id, text.pad_token_id

    @torch.inference_mode()
    def score_choices(self, picture: Image, asked: Sequence[Asked]) -> list[list[float]]:
        """Return log p(choice | picture, question), <= 0, choice by choice of each question."""
        seen = self._see(picture)
        return [self._log_likelihood(one.choices, self._read(seen, one.question)).tolist() for one in asked]

    @torch.inference_mode()
    def answer_freely(self, picture: Image, questions: Sequence[str]) -> list[str]:
        """Generate an answer to each question, greedily."""
        seen = self._see(picture)
        answers = [
            self.model.text_decoder.generate(
                input_ids=torch.tensor([[self.start]], device=self.device), eos_token_id=self.end,
                pad_token_id=self.padding, max_length=MAX_ANSWER_TOKENS,
                encoder_hidden_states=self._read(seen, question),
            )[0]
            for question in questions
        ]  # fmt: skip
        return [str(one).strip() for one in self.tokenizer.batch_decode(answers, skip_special_tokens=True)]

    def _see(self, picture: Image) -> Tensor:
        """The picture's patches, (1, P, D) float32."""
        pixels = self.prepare(picture, return_tensors="pt").pixel_values
        states: Tensor = self.model.vision_model(pixel_values=pixels.to(self.device)).last_hidden_state
        return states

    def _read(self, seen: Tensor, question: str) -> Tensor:
        """A question in sight of the picture, (1, L, D) float32.

        One at a time, unpadded: the answer decoder of transformers 4.57 drops the mask over the question's tokens,
        so padding would change the answer.
        """
        inputs = self.tokenizer(question, truncation=True, return_tensors="pt").to(self.device)
        states: Tensor = self.model.text_encoder(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, encoder_hidden_states=seen
        ).last_hidden_state
        return states

    def _log_likelihood(self, choices: Sequence[str], states: Tensor) -> Tensor:
        """(N,) float32 for N choices of one question."""
        plain = self.tokenizer(list(choices), add_special_tokens=False).input_ids
        tokens = [torch.tensor([self.start, *ids, self.end]) for ids in plain]
        padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=self.padding)
        lengths = torch.tensor([len(one) for one in tokens])
        counts = (torch.arange(padded.shape[1]) < lengths[:, None]).to(self.device)  # (N, L) bool
        padded = padded.to(self.device)
        logits = self.model.text_decoder(
            input_ids=padded[:, :-1],
            attention_mask=counts[:, :-1].long(),
            encoder_hidden_states=states.expand(len(choices), -1, -1),
        ).logits  # (N, L - 1, V)
        of_next = logits.float().log_softmax(dim=-1).gather(2, padded[:, 1:, None]).squeeze(2)
        total: Tensor = (of_next * counts[:, 1:]).sum(dim=1)
        return total
