"""The pairs' neighbours in the library, found ahead of training by the rule that the runtime draws with.

One query for the whole prompt and one per object phrase; the finds are dealt out in turn. What training adds:
a library entry that all but equals the target is never shown, or the student would learn to copy instead of
to look; and a prompt with a thing that is lent for training finds only entries that name what it asks for, because
the text tower knows no such thing, and finds the setting instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.reference_weights import reference_weights
from ragturbo_runtime.retriever import Calibration
from training.ladd.library import TrainingLibrary, encode_keys
from training.ladd.neighbour_search import CELLS, Queries
from training.ladd.queries import Ask, queries_of

if TYPE_CHECKING:
    from training.family.text_tower import TextTower
    from training.ladd.masking import Masker
    from training.ladd.pairs import Pairs

SMALLEST_WIDTH = 1e-3
"""A calibration narrower than this weighs rounding errors."""


@dataclass(frozen=True)
class Neighbours:
    """Per pair, its references from the first to the last. Row i of every field belongs to pair i."""

    rows: Tensor
    """(P, M) int64 library entries, without repeats; -1 where there is none."""
    cosines: Tensor
    """(P, M) float32, each with the query that found the entry."""
    prompt_keys: Tensor
    """(P, E) float32, of length 1: the whole prompts' keys."""
    calibration: Calibration
    """From cosines to lambdas, as measured."""

    def weights(self, cosines: Tensor) -> Tensor:
        """Turn cosines (..., K) into lambdas (..., K) float32 in [0, 1], by the runtime's rule."""
        weights = reference_weights(cosines.numpy(), low=self.calibration.low, high=self.calibration.high)
        return torch.from_numpy(weights)


def find_neighbours(
    text: TextTower,
    library: TrainingLibrary,
    pairs: Pairs,
    *,
    candidates: int,
    near_duplicate: float,
    calibration: Calibration,
    masker: Masker,
    lent: Sequence[str] = (),
    ask: Ask = "both",
) -> Neighbours:
    """Find every pair's references.

    Args:
        text: The family's text tower.
        library: The entries.
        pairs: The pairs; their latents tell near-duplicates.
        candidates: M, references kept per pair.
        near_duplicate: Entries of at least this cosine with the target (`picture_cosines`) are left out; over 1,
            nothing is compared.
        calibration: From `calibrate`.
        masker: Finds names in queries and captions.
        lent: Names of the things that only the library's lent entries show. Prompts without one never find those
            entries.
        ask: What the prompts are looked up by.

    Raises:
        ValueError: The library is empty.
    """
    _require_entries(library)
    asked = [queries_of(prompt, ask) for prompt in pairs.prompts]
    every = [*pairs.prompts, *(query for some in asked for query in some)]
    queries = Queries(text, library, every, masker, lent)
    entries = (
        centred(library.latents) if near_duplicate <= 1 else None
    )  # no cosine is over 1: nothing to compare
    rows = torch.full((len(pairs), candidates), -1, dtype=torch.int64)
    cosines = torch.zeros(len(pairs), candidates)
    together = max(1, CELLS // (len(library) * max(map(len, asked), default=1)))  # pairs at a time
    for first in range(0, len(pairs), together):
        some = slice(first, first + together)
        near = torch.zeros(len(asked[some]), len(library), dtype=torch.bool)
        if entries is not None:
            near = centred(pairs.latents[some]) @ entries.T >= near_duplicate
        ids, found = queries.find(pairs.prompts[some], asked[some], near, candidates)
        rows[some], cosines[some] = torch.from_numpy(ids), torch.from_numpy(found)
    prompt_keys = queries.keys[[queries.place[prompt] for prompt in pairs.prompts]]
    return Neighbours(rows, cosines, prompt_keys, calibration)


def calibrate(
    text: TextTower, library: TrainingLibrary, prompts: Sequence[str], percentiles: tuple[float, float]
) -> Calibration:
    """Measure a library's cosines with prompts and their object phrases.

    Args:
        text: The family's text tower.
        library: The entries that a bundle will hold.
        prompts: What is asked for.
        percentiles: As `measure_calibration`.

    Raises:
        ValueError: The library is empty, or the calibration has no width.
    """
    _require_entries(library)
    queries = dict.fromkeys(query for prompt in prompts for query in queries_of(prompt))
    keys = encode_keys(text, list(queries))
    _, cosines = ExactIndex(library.keys.numpy().astype(np.float16)).search(keys.numpy(), 1)
    return measure_calibration(keys, library.keys, cosines[:, 0], percentiles)


def _require_entries(library: TrainingLibrary) -> None:
    if len(library) == 0:
        raise ValueError("the library is empty; give it pictures, or train with --no-retrieval")


def picture_cosines(targets: Tensor, references: Tensor) -> Tensor:
    """Compare pictures by their latents, each channel less its mean: the same ground alone makes nobody alike.

    Args:
        targets: (P, c, h, w) float32.
        references: (N, c, h, w) float32.

    Returns:
        (P, N) float32 cosines.
    """
    return centred(targets) @ centred(references).T


def centred(latents: Tensor) -> Tensor:
    """(N, c, h, w) latents -> (N, c * h * w) of length 1, each channel less its mean."""
    return functional.normalize((latents - latents.mean(dim=(2, 3), keepdim=True)).flatten(1), dim=1)


def measure_calibration(
    query_keys: Tensor,
    library_keys: Tensor,
    first_hits: NDArray[np.float32],
    percentiles: tuple[float, float],
) -> Calibration:
    """Measure which cosine means "has nothing to do with it" and which means "this is it".

    The cosines of a text tower bunch in a narrow band (research: 0.91 to 0.93), so the paper's lambda =
    cosine would weigh all references alike.

    Args:
        query_keys: (Q, E) float32.
        library_keys: (N, E) float32.
        first_hits: (Q,) cosines of each query with its first find.
        percentiles: In [0, 100]: of random cosines -> low, of first hits -> high.

    Raises:
        ValueError: low is not below high: the keys do not tell captions apart.
    """
    some = query_keys[:: max(1, len(query_keys) // 512)] @ library_keys[:: max(1, len(library_keys) // 512)].T
    low, high = (
        float(np.percentile(some.numpy(), percentiles[0])),
        float(np.percentile(first_hits, percentiles[1])),
    )
    if high - low < SMALLEST_WIDTH:
        raise ValueError(
            f"random captions have a cosine of {low:.4f}, first hits of {high:.4f}: the text tower's keys do not tell "
            "captions apart; train the text tower longer, or set [retrieval] low_percentile lower"
        )
    return Calibration(low, high)
