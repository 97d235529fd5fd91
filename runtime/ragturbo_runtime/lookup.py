"""The references of one batch: looked up, weighed and padded to what the adapter reads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Keys, Scale, Weights
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library import Library, Reference
from ragturbo_runtime.phrases import split_phrases
from ragturbo_runtime.requests import DrawRequest
from ragturbo_runtime.retriever import Calibration, Retriever
from ragturbo_runtime.stopwatch import Stopwatch
from ragturbo_runtime.text import TextEncoder


class Conditioning(NamedTuple):
    """What the adapter adds to one batch, padded to the picture with the most references."""

    features: Features  # (B, K, T, C)
    scale: Scale  # (C,)
    weights: Weights  # (B, K), 0 where padded
    strength: NDArray[np.float32]  # (B,)


class Found(NamedTuple):
    """What was looked up for one batch."""

    references: list[list[Reference]]  # per picture
    conditioning: Conditioning | None
    watch: Stopwatch


class Lookup:
    """Searches the library of a bundle."""

    def __init__(
        self, library: Library | None, calibration: Calibration, text: TextEncoder, path: Path
    ) -> None:
        """Keep the parts.

        Args:
            library: The references, or None.
            calibration: How cosines become weights.
            text: Makes the queries of a prompt's phrases.
            path: The bundle's folder, for messages.
        """
        self._library = library
        self._calibration = calibration
        self._text = text
        self._path = path

    def retrieve(
        self, prompt: str, key: Keys, *, references: int, retrieval_threshold: float = 0.0
    ) -> list[Reference]:
        """Look up one prompt: the nearest to the whole and to each object phrase, in turn.

        Args:
            prompt: The prompt.
            key: (E,) float32, its key.
            references: The most to return, 1 or more.
            retrieval_threshold: References of a smaller cosine are left out.

        Returns:
            At most ``references`` of them, in the order they were taken.

        Raises:
            InvalidInputError: The key has another width.
            RetrievalError: The bundle has no library, or it cannot be read.
            InferenceError: The text encoder failed.
        """
        queries = np.concatenate([key[None], self._text.encode_phrases(_queries(prompt))])
        return self._search(queries, references, retrieval_threshold)

    def of_batch(self, prompts: list[str], order: list[int], keys: Keys, request: DrawRequest) -> Found:
        """Look up the references of one batch.

        Args:
            prompts: P distinct prompts.
            order: Per picture, which of them it draws.
            keys: (P, E) float32, their keys.
            request: Count, threshold and strength.

        Returns:
            References per picture, what the adapter reads, and how long it took.

        Raises:
            RetrievalError: The bundle has no library, or it cannot be read.
            InferenceError: The text encoder failed.
        """
        watch = Stopwatch()
        found = self._retrieve_all(prompts, keys, request, watch)
        references = [found[i] for i in order]
        return Found(references, self._conditioning(references, request.strength, watch), watch)

    def require_library(self) -> Library:
        """Return the library.

        Raises:
            RetrievalError: The bundle has none.
        """
        if self._library is None:
            raise RetrievalError(
                f"{self._path}: the bundle has no library to retrieve from",
                hint="draw with references=0, or export with --library",
            )
        return self._library

    def _retrieve_all(
        self, prompts: list[str], keys: Keys, request: DrawRequest, watch: Stopwatch
    ) -> list[list[Reference]]:
        queries = [_queries(prompt) for prompt in prompts]
        with watch.stage("text_encoder"):
            phrase_keys = self._text.encode_phrases([phrase for phrases in queries for phrase in phrases])
        found = []
        start = 0
        for key, phrases in zip(keys, queries, strict=True):
            own = np.concatenate([key[None], phrase_keys[start : start + len(phrases)]])
            start += len(phrases)
            with watch.stage("search"):
                found.append(self._search(own, int(request.references), request.retrieval_threshold))
        return found

    def _search(self, queries: Keys, references: int, retrieval_threshold: float) -> list[Reference]:
        library = self.require_library()
        got = Retriever(library, self._calibration).retrieve(
            queries, references=references, retrieval_threshold=retrieval_threshold
        )
        return library.references(got.rows, got.similarities, got.weights)

    def _conditioning(
        self, references: list[list[Reference]], strength: float, watch: Stopwatch
    ) -> Conditioning | None:
        """Gather features and weights; None where nothing would be added."""
        used = [[r for r in own if r.weight > 0] for own in references]
        most = max(map(len, used))
        if most == 0 or strength == 0:
            return None
        library = self.require_library()
        with watch.stage("features"):
            rows = np.zeros((len(used), most), dtype=np.int64)
            weights = np.zeros((len(used), most), dtype=np.float32)
            for i, own in enumerate(used):
                rows[i, : len(own)] = [r.row for r in own]
                weights[i, : len(own)] = [r.weight for r in own]
            features = library.features(rows)
        return Conditioning(features, library.scale, weights, np.full(len(used), strength, dtype=np.float32))


def _queries(prompt: str) -> list[str]:
    """The object phrases of a prompt that are not the prompt itself."""
    whole = " ".join(prompt.lower().split())
    return [phrase for phrase in split_phrases(prompt) if phrase != whole]
