"""Pictures and captions to what a library stores: keys, and features of the U-Net's h-space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys, Pixels
from ragturbo_runtime.finite import require_finite
from ragturbo_runtime.library.feature_rows import reference_tokens
from ragturbo_runtime.tensors import to_float32
from ragturbo_runtime.tokenizer import TokenBatch, Tokenizer

GRAPHS = ("text_encoder", "vae_encoder", "unet_encoder")
"""What runs."""
BATCH_PIXELS = 32 * 64 * 64
"""Encoded at a time: the autoencoder's first layers take 0.5 KB for each at SD-Turbo's width."""


class Runner(Protocol):
    """What runs a graph: ONNX Runtime (`ragturbo_runtime.session.GraphSession`), or torch in its place."""

    def run(self, feeds: dict[str, NDArray[Any]], /) -> Mapping[str, Array]:
        """Inputs by name to outputs by name."""


class ReferenceSettings(Protocol):
    """How features are taken; the adapter was trained with them (`manifest.AdapterSpec` has all three)."""

    @property
    def reference_timestep(self) -> int:
        """The train timestep that the U-Net is told."""

    @property
    def reference_caption(self) -> str:
        """``"caption"`` or ``"empty"``: the text that it is told."""

    @property
    def reference_pool(self) -> int:
        """Side of the square of h-space cells whose mean is one token."""


class PictureEncoder:
    """Encodes pictures with the graphs of one bundle. Several threads may use it at once."""

    def __init__(
        self, graphs: Mapping[str, Runner], tokenizer: Tokenizer, settings: ReferenceSettings
    ) -> None:
        """Keep the parts.

        Args:
            graphs: ``text_encoder``, ``vae_encoder`` and ``unet_encoder``.
            tokenizer: Of the same bundle.
            settings: How its features are taken.
        """
        self._graphs, self._tokenizer, self._settings = graphs, tokenizer, settings

    def encode(self, pictures: Sequence[Pixels], captions: Sequence[str]) -> tuple[Keys, NDArray[np.float32]]:
        """Encode some pictures.

        Args:
            pictures: B arrays (H, W, 3) uint8, of the bundle's size.
            captions: What they show.

        Returns:
            (B, E) float32 unit vectors, the captions' keys, and (B, T, C) float32 features.

        Raises:
            InferenceError: A graph failed, or gave NaN or infinity.
        """
        keys = self.keys(captions)
        latents = to_float32(self._graphs["vae_encoder"].run({"sample": to_model(pictures)})["latent_sample"])
        outputs = self._graphs["unet_encoder"].run(
            {
                "sample": latents,
                "timestep": np.full(len(latents), self._settings.reference_timestep, np.int64),
                "encoder_hidden_states": self._conditioning(captions),
            }
        )
        features = reference_tokens(to_float32(outputs["h"]), self._settings.reference_pool)
        require_finite(features, graph="unet_encoder")
        return keys, np.ascontiguousarray(features)

    def keys(self, captions: Sequence[str]) -> Keys:
        """Encode captions alone, at the length of the longest: the encoder is causal, what is behind changes nothing.

        Args:
            captions: B texts, 1 or more.

        Returns:
            (B, E) float32 unit vectors.

        Raises:
            InferenceError: The graph failed, or gave NaN or infinity.
        """
        keys = self._text(self._tokenizer.encode(list(captions)).shortened())["text_embeds"]
        require_finite(keys, graph="text_encoder")
        return keys

    def _conditioning(self, captions: Sequence[str]) -> NDArray[np.float32]:
        own = self._settings.reference_caption == "caption"
        texts = list(captions) if own else [""]
        states = self._text(self._tokenizer.encode(texts))["last_hidden_state"]
        return states if own else np.repeat(states, len(captions), axis=0)

    def _text(self, tokens: TokenBatch) -> dict[str, NDArray[np.float32]]:
        outputs = self._graphs["text_encoder"].run(
            {"input_ids": tokens.input_ids, "eos_index": tokens.eos_index}
        )
        return {name: to_float32(value) for name, value in outputs.items()}


def to_model(pictures: Sequence[Pixels]) -> NDArray[np.float32]:
    """Turn pictures into what the VAE reads.

    Args:
        pictures: B arrays (H, W, 3) uint8.

    Returns:
        (B, 3, H, W) float32 in [-1, 1].
    """
    stacked = np.stack(list(pictures)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)


def batch_size(side: int) -> int:
    """Return how many pictures of a side are encoded at a time."""
    return max(1, BATCH_PIXELS // side**2)
