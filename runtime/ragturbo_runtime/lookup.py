"""The references of one batch: looked up, weighed and padded to what the adapter reads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Keys, Scale, Weights
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import Reference
from ragturbo_runtime.library.view import LibraryView
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
        return self.require_library().consistent(
            lambda view: self._search(view, queries, references, retrieval_threshold)
        )

    def nearest(self, key: Keys, count: int) -> list[Reference]:
        """Return the references nearest to one key, however far they are.

        Args:
            key: (E,) float32.
            count: The most to return, 1 or more.

        Raises:
            InvalidInputError: The key has another width.
            RetrievalError: The bundle has no library, or it cannot be read.
        """
        return self.require_library().consistent(lambda view: self._search(view, key[None], count, -1.0))

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
        queries = self._queries_of(prompts, keys, watch)
        references_of = (int(request.references), request.retrieval_threshold)

        def look(view: LibraryView) -> Found:
            with watch.stage("search"):
                found = [self._search(view, own, *references_of) for own in queries]
            references = [found[i] for i in order]
            return Found(references, _conditioning(view, references, request.strength, watch), watch)

        return self.require_library().consistent(look)

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

    def _queries_of(self, prompts: list[str], keys: Keys, watch: Stopwatch) -> list[Keys]:
        """Per prompt, (Q, E): its own key and those of its phrases."""
        phrases = [_queries(prompt) for prompt in prompts]
        with watch.stage("text_encoder"):
            phrase_keys = self._text.encode_phrases([phrase for some in phrases for phrase in some])
        queries, start = [], 0
        for key, some in zip(keys, phrases, strict=True):
            queries.append(np.concatenate([key[None], phrase_keys[start : start + len(some)]]))
            start += len(some)
        return queries

    def _search(
        self, view: LibraryView, queries: Keys, references: int, retrieval_threshold: float
    ) -> list[Reference]:
        got = Retriever(view, self._calibration).retrieve(
            queries, references=references, retrieval_threshold=retrieval_threshold
        )
        return self.require_library().references(got.rows, got.similarities, got.weights, view)


def _conditioning(
    view: LibraryView, references: list[list[Reference]], strength: float, watch: Stopwatch
) -> Conditioning | None:
    """Gather features and weights; None where nothing would be added."""
    used = [[r for r in own if r.weight > 0] for own in references]
    most = max(map(len, used))
    if most == 0 or strength == 0:
        return None
    with watch.stage("features"):
        rows = np.zeros((len(used), most), dtype=np.int64)
        weights = np.zeros((len(used), most), dtype=np.float32)
        for i, own in enumerate(used):
            rows[i, : len(own)] = [r.row for r in own]
            weights[i, : len(own)] = [r.weight for r in own]
        features = view.features(rows)
    return Conditioning(features, view.layout.scale, weights, np.full(len(used), strength, dtype=np.float32))


def _queries(prompt: str) -> list[str]:
    """The object phrases of a prompt that are not the prompt itself."""
    whole = " ".join(prompt.lower().split())
    return [phrase for phrase in split_phrases(prompt) if phrase != whole]
