"""Which references every benchmark prompt gets, and what they hold: in torch, by the runtime's own rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.retriever import Calibration, Retriever
from training.family.folder import Family
from training.ladd.library import Codec, ReferenceFeatures, TrainingLibrary, encode_keys
from training.ladd.queries import Ask, queries_of
from training.models.checkpoint import AdapterMetadata


@dataclass(frozen=True)
class PromptReferences:
    """The references of N prompts. Row i of both fields belongs to prompt i."""

    rows: NDArray[np.int64]
    """(N, K) library entries; 0 where there are fewer."""
    weights: NDArray[np.float32]
    """(N, K) lambdas in [0, 1]; 0 where there are fewer: masked."""

    def of_other_prompts(self, *, seed: int) -> PromptReferences:
        """Every prompt with the references of another one, and its own weights.

        The weights stay, so that the adapter acts as strongly as with the right references: the one
        difference is what the references show. The prompts pass their references on around one circle in
        random order.

        Args:
            seed: Of the order.

        Raises:
            ValueError: There is one prompt only: it has no other.
        """
        count = len(self.rows)
        if count < 2:
            raise ValueError("wrong references are those of another prompt: at least two prompts are needed")
        circle = np.random.default_rng(seed).permutation(count)
        rows = np.empty_like(self.rows)
        rows[circle] = self.rows[np.roll(circle, 1)]
        return PromptReferences(rows, self.weights)


def find_references(
    family: Family,
    library: TrainingLibrary,
    metadata: AdapterMetadata,
    prompts: Sequence[str],
    ask: Ask = "both",
) -> PromptReferences:
    """Retrieve as the runtime does: the whole prompt and each object phrase, dealt out in turn.

    Args:
        family: Its text tower makes the keys.
        library: What is searched.
        metadata: The adapter's: number of references and calibration.
        prompts: N prompts.
        ask: What they are looked up by.
    """
    return new_search(family, library, metadata, ask)(prompts)


def new_search(
    family: Family, library: TrainingLibrary, metadata: AdapterMetadata, ask: Ask = "both"
) -> Callable[[Sequence[str]], PromptReferences]:
    """Make ready what `find_references` searches with, so that a search can be timed alone."""
    calibration = Calibration(metadata.similarity_low, metadata.similarity_high)
    # The bundle keeps keys as float16: near-ties must fall alike.
    retriever = Retriever(ExactIndex(library.keys.numpy().astype(np.float16)), calibration)

    def search(prompts: Sequence[str]) -> PromptReferences:
        rows = np.zeros((len(prompts), metadata.references), dtype=np.int64)
        weights = np.zeros((len(prompts), metadata.references), dtype=np.float32)
        for place, prompt in enumerate(prompts):
            keys = encode_keys(family.text, queries_of(prompt, ask)).numpy()
            got = retriever.retrieve(keys, references=metadata.references)
            rows[place, : len(got.rows)] = got.rows
            weights[place, : len(got.rows)] = got.weights
        return PromptReferences(rows, weights)

    return search


def reference_features(
    family: Family, library: TrainingLibrary, metadata: AdapterMetadata, codec: Codec | None = None
) -> ReferenceFeatures:
    """What the library's entries show in h-space, as the adapter was trained to read it, or rounded otherwise."""
    return ReferenceFeatures(
        family.unet,
        family.text,
        library,
        timestep=metadata.reference_timestep,
        caption="empty" if metadata.reference_caption == "empty" else "caption",
        pool=metadata.reference_pool,
        codec=codec or ("int8" if metadata.feature_codec == "int8" else "float32"),
    )


def read_features(features: ReferenceFeatures, rows: NDArray[np.int64]) -> Tensor:
    """Look features up.

    Args:
        features: Of the library.
        rows: (B, K) entries.

    Returns:
        (B, K, T, C) float32.
    """
    return features.read(torch.from_numpy(rows), {})
