"""The pairs' neighbours in the library, found ahead of training by the rule that the runtime draws with.

One query for the whole prompt and one per object phrase; the finds are dealt out in turn. What training adds:
a library entry that all but equals the target is never shown, or the student would learn to copy instead of
to look; and a prompt with a thing that is lent for training finds only entries that name what it asks for, because
the text tower knows no such thing, and finds the setting instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from ragturbo_runtime.index import ExactIndex
from ragturbo_runtime.phrases import split_phrases
from ragturbo_runtime.reference_weights import reference_weights
from ragturbo_runtime.retriever import Calibration, round_robin
from training.ladd.library import TrainingLibrary, encode_keys

if TYPE_CHECKING:
    from training.family.text_tower import TextTower
    from training.ladd.masking import Masker
    from training.ladd.pairs import Pairs

Ask = Literal["both", "prompt", "phrases"]
"""What a prompt is looked up by: the whole prompt and each of its object phrases, as the runtime does, or one alone."""
SMALLEST_WIDTH = 1e-3
"""A calibration narrower than this weighs rounding errors."""
_CHUNK = 1024  # pairs compared with the library at a time


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


class _Queries:
    """The keys of queries and of a library, each encoded once: phrases repeat a thousand times.

    Args:
        text: The family's text tower.
        library: The entries.
        queries: All queries; repeats are fine.
        masker: Finds names.
        lent: Names of the things that only the library's lent entries show.
    """

    def __init__(
        self,
        text: TextTower,
        library: TrainingLibrary,
        queries: Sequence[str],
        masker: Masker,
        lent: Sequence[str],
    ) -> None:
        unique = list(dict.fromkeys(queries))
        self.place = {query: place for place, query in enumerate(unique)}
        self.keys = encode_keys(text, unique)
        # The bundle's keys are float16; so near-ties fall alike here.
        self._library = library.keys.half().float().T.contiguous()  # (E, N)
        self._own, self._masker, self._lent = library.own, masker, frozenset(lent)
        self._showing: dict[str, list[int]] = defaultdict(list)
        for row, caption in enumerate(library.captions):
            for name in masker.found(caption):
                self._showing[name].append(row)

    def search(
        self, queries: Sequence[str], excluded: NDArray[np.bool_], count: int, *, prompt: str
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest entries.

        Args:
            queries: Q of them.
            excluded: (N,) entries that must not be found.
            count: Entries per query.
            prompt: Whose they are.

        Returns:
            (Q, count) ids and cosines, best first; -1 where there is none.
        """
        # By torch: numpy's threads and torch's would fight for the cores, and 1 ms would become 7.
        cosines = (self.keys[[self.place[query] for query in queries]] @ self._library).numpy()
        ids = np.full((len(queries), count), -1)
        found = np.full((len(queries), count), -np.inf, dtype=np.float32)
        for place, query in enumerate(queries):
            allowed = np.flatnonzero(~(excluded | self._forbidden(query, prompt=prompt)))
            best = _best(cosines[place, allowed], count)
            ids[place, : len(best)], found[place, : len(best)] = allowed[best], cosines[place, allowed[best]]
        return ids, found

    def _forbidden(self, query: str, prompt: str) -> NDArray[np.bool_]:
        names = self._masker.found(prompt)
        forbidden = np.zeros(self._library.shape[1], dtype=bool)
        if not self._lent.intersection(names):
            forbidden[self._own :] = True
            return forbidden
        forbidden[:] = True
        for name in self._masker.found(query) or names:
            forbidden[self._showing[name]] = False
        return forbidden


def _best(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The places of the largest values, largest first, and of equal ones the first first."""
    if len(values) > count:
        least = np.partition(values, len(values) - count)[len(values) - count]
        some = np.flatnonzero(values >= least)
    else:
        some = np.arange(len(values))
    return np.asarray(some[np.argsort(-values[some], kind="stable")][:count])


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
        near_duplicate: Entries of at least this cosine with the target (`picture_cosines`) are left out.
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
    queries = _Queries(text, library, every, masker, lent)
    rows = torch.full((len(pairs), candidates), -1, dtype=torch.int64)
    cosines = torch.zeros(len(pairs), candidates)
    for first in range(0, len(pairs), _CHUNK):
        near = picture_cosines(pairs.latents[first : first + _CHUNK], library.latents) >= near_duplicate
        for place, excluded in enumerate(near.numpy(), start=first):
            ids, values = queries.search(asked[place], excluded, candidates + 1, prompt=pairs.prompts[place])
            dealt, similarities = round_robin(ids, values, candidates + 1)
            real = dealt >= 0
            count = min(candidates, int(real.sum()))
            rows[place, :count] = torch.from_numpy(dealt[real][:count])
            cosines[place, :count] = torch.from_numpy(similarities[real][:count])
    prompt_keys = queries.keys[[queries.place[prompt] for prompt in pairs.prompts]]
    return Neighbours(rows, cosines, prompt_keys, calibration)


def queries_of(prompt: str, ask: Ask = "both") -> list[str]:
    """What a prompt is looked up by, without repeats; a prompt without object phrases by itself."""
    if ask == "prompt":
        return [prompt]
    phrases = split_phrases(prompt)
    return list(dict.fromkeys([prompt, *phrases])) if ask == "both" else phrases or [prompt]


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
    queries = dict.fromkeys(query for prompt in prompts for query in (prompt, *split_phrases(prompt)))
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

    def centred(latents: Tensor) -> Tensor:
        return functional.normalize((latents - latents.mean(dim=(2, 3), keepdim=True)).flatten(1), dim=1)

    return centred(targets) @ centred(references).T


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
