"""The text encoder: prompts to what conditions the U-Net, and to retrieval keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys
from ragturbo_runtime.finite import require_finite
from ragturbo_runtime.graphs import Graphs
from ragturbo_runtime.key_cache import KeyCache
from ragturbo_runtime.requests import MAX_PICTURES, PromptEncoding
from ragturbo_runtime.tensors import Tensor, to_float32
from ragturbo_runtime.tokenizer import TokenBatch, Tokenizer

NAME = "text_encoder"


class Condition(NamedTuple):
    """The prompts of one batch, ready for the graphs."""

    embeds: Tensor  # (B, 77, D), one per picture, where the graphs run
    keys: Keys  # (P, E), one per distinct prompt
    cut: tuple[tuple[str, ...], ...]  # per distinct prompt


class TextEncoder:
    """Tokenizer and text encoder. Several threads may use it at once."""

    def __init__(self, graphs: Graphs, tokenizer: Tokenizer, embed_dim: int) -> None:
        """Keep the parts.

        Args:
            graphs: The pipeline's graphs.
            tokenizer: Prompt to ids.
            embed_dim: E, the width of the keys.
        """
        self._graphs = graphs
        self._tokenizer = tokenizer
        self._embed_dim = embed_dim
        self._known = KeyCache()

    def encode(self, prompts: Sequence[str]) -> PromptEncoding:
        """Run the text encoder on whole prompts, at the full context length.

        Args:
            prompts: 1 to 64 prompts.

        Returns:
            Embeddings, retrieval keys and the words that did not fit.

        Raises:
            InvalidInputError: A prompt is no string.
            InferenceError: The graph failed.
        """
        batch = self._tokenizer.encode(prompts)
        out = self._run(batch)
        return PromptEncoding(out["last_hidden_state"], out["text_embeds"], batch.cut)

    def encode_phrases(self, phrases: Sequence[str]) -> Keys:
        """Run the text encoder for retrieval keys alone, at the length of the longest phrase.

        The encoder is causal, so a key does not depend on the padding behind it. Keys that are known are not made
        again.

        Args:
            phrases: Any number of texts.

        Returns:
            (P, E) float32 unit vectors.

        Raises:
            InvalidInputError: A phrase is no string.
            InferenceError: The graph failed.
        """
        keys = self._known.get(phrases, self._encode_phrases)
        return np.stack(keys) if keys else np.empty((0, self._embed_dim), dtype=np.float32)

    def condition(self, prompts: Sequence[str], order: Sequence[int]) -> Condition:
        """Encode the prompts of one batch, and leave on the device what the U-Net reads.

        Args:
            prompts: P distinct prompts.
            order: Per picture, which of them it draws; every one is drawn.

        Returns:
            Embeddings per picture; keys and cut words per prompt.

        Raises:
            InvalidInputError: A prompt is no string.
            InferenceError: The graph failed.
        """
        batch = self._tokenizer.encode(prompts)
        out = self._graphs[NAME].run_on_device(_feeds(batch))
        keys, embeds = to_float32(out["text_embeds"]), out["last_hidden_state"]
        require_finite(keys, graph=NAME)
        if isinstance(
            embeds, np.ndarray
        ):  # those on a device are not fetched for it: NaN in them ends as NaN in h
            require_finite(embeds, graph=NAME)
        if list(order) != list(range(len(prompts))):
            embeds = to_float32(embeds)[list(order)]
        return Condition(self._graphs["unet_encoder"].put("encoder_hidden_states", embeds), keys, batch.cut)

    def _encode_phrases(self, phrases: Sequence[str]) -> Keys:
        keys = []
        for start in range(0, len(phrases), MAX_PICTURES):
            batch = self._tokenizer.encode(phrases[start : start + MAX_PICTURES]).shortened()
            keys.append(self._run(batch)["text_embeds"])
        return np.concatenate(keys)

    def _run(self, batch: TokenBatch) -> dict[str, NDArray[np.float32]]:
        outputs = {name: to_float32(value) for name, value in self._graphs[NAME].run(_feeds(batch)).items()}
        for values in outputs.values():
            require_finite(values, graph=NAME)
        return outputs


def _feeds(batch: TokenBatch) -> dict[str, Array]:
    return {"input_ids": batch.input_ids, "eos_index": batch.eos_index}
