"""What goes into Pipeline.draw and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragturbo_runtime.arrays import Keys, Latents, Pixels, PromptEmbeds
from ragturbo_runtime.errors import InvalidInputError
from ragturbo_runtime.library.record import Reference
from ragturbo_runtime.stopwatch import Interval

MAX_PICTURES = 64
"""The batch axis of every graph is 1 to 64."""


@dataclass(frozen=True)
class PromptEncoding:
    """Prompts as the graphs see them.

    Attributes:
        prompt_embeds: (B, 77, D) float32, what conditions the U-Net.
        keys: (B, E) float32 unit vectors, what retrieval compares.
        cut: Per prompt, the words that did not fit into the context.
    """

    prompt_embeds: PromptEmbeds
    keys: Keys
    cut: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class DrawRequest:
    """One batch of pictures.

    Attributes:
        prompts: B prompts, 1 to 64; equal ones are encoded once.
        seeds: B seeds, 0 or more; each decides one picture's noise.
        steps: Denoising steps, 1 to 4.
        references: References per picture, 0 (retrieval off) to the bundle's ``max_references``.
        strength: How much of the adapter's correction is added: 0 none, 1 as trained; 0 to 2.
        noise: (B, c, h, w) float32 standard normal instead of the seeds' noise, or None.
        retrieval_threshold: References of a smaller cosine are left out, -1 to 1.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int = 1
    references: int = 4
    strength: float = 1.0
    noise: Latents | None = None
    retrieval_threshold: float = 0.0

    def check(self, *, max_references: int, latent_shape: tuple[int, ...]) -> None:
        """Check everything that does not need a graph.

        Args:
            max_references: The bundle's.
            latent_shape: (c, h, w) of one picture.

        Raises:
            InvalidInputError: An argument is of the wrong type, length or range; names it.
        """
        count = len(self.prompts)
        _require(1 <= count <= MAX_PICTURES, "prompts", count, f"1 to {MAX_PICTURES} pictures a call")
        for prompt in self.prompts:
            _require(
                isinstance(prompt, str) and bool(prompt.strip()),
                "prompt",
                prompt,
                "a string that is not empty",
            )
        _require(len(self.seeds) == count, "seeds", self.seeds, f"one per prompt ({count})")
        _require(_is_integer(self.steps), "steps", self.steps, "an integer")
        in_range = _is_integer(self.references) and 0 <= self.references <= max_references
        _require(in_range, "references", self.references, f"an integer from 0 to {max_references}")
        _require(_is_number(self.strength, 0.0, 2.0), "strength", self.strength, "a number from 0 to 2")
        threshold = self.retrieval_threshold
        _require(_is_number(threshold, -1.0, 1.0), "retrieval_threshold", threshold, "a number from -1 to 1")
        if self.noise is not None:
            shape = (count, *latent_shape)
            fits = (
                isinstance(self.noise, np.ndarray)
                and self.noise.dtype == np.float32
                and self.noise.shape == shape
            )
            described = f"{getattr(self.noise, 'dtype', type(self.noise))} {getattr(self.noise, 'shape', '')}"
            _require(fits, "noise", described, f"float32 {shape}")


@dataclass(frozen=True)
class DrawResult:
    """One batch of pictures.

    Attributes:
        images: (B, H, W, 3) uint8, sRGB.
        latents: (B, c, h, w) float32, what the images were decoded from.
        references: Per picture, the references in the order they were taken; empty with retrieval off.
        timings: Milliseconds by stage: text_encoder, search, features, unet_encoder, adapter, unet_decoder,
            vae_decoder (0.0 where it did not run), total. Stages are summed over the steps.
        cut: Per picture, the words of its prompt that did not fit into the context.
        intervals: When each stage ran.
    """

    images: Pixels
    latents: Latents
    references: list[list[Reference]]
    timings: dict[str, float]
    cut: tuple[tuple[str, ...], ...]
    intervals: tuple[Interval, ...] = ()


def _require(condition: bool, argument: str, value: object, allowed: str) -> None:
    if not condition:
        raise InvalidInputError(f"{argument} is {value!r}, expected {allowed}", argument=argument)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    return low <= float(value) <= high
