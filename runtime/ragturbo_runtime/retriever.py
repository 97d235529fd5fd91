"""Which references a prompt gets, and how much each of them weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys, Rows, Weights
from ragturbo_runtime.reference_weights import reference_weights


class NearestNeighbors(Protocol):
    """What retrieval needs of a library, or of an index."""

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest keys.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 or more.

        Returns:
            (Q, min(k, N)) int64 rows and float32 cosines, best first.
        """


@dataclass(frozen=True)
class Calibration:
    """How a family's cosines become weights.

    Attributes:
        low: The cosine of weight 0 (0.0 in the paper).
        high: The cosine of weight 1 (1.0 in the paper).
    """

    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Retrieved:
    """The references of one prompt, in the order they were taken.

    Attributes:
        rows: (K,) int64 library rows, without repeats.
        similarities: (K,) float32 cosines, each to the query that found the reference.
        weights: (K,) float32 lambda in [0, 1].
    """

    rows: Rows
    similarities: NDArray[np.float32]
    weights: Weights


class Retriever:
    """Searches a library once per query and deals the results out in turn."""

    def __init__(self, library: NearestNeighbors, calibration: Calibration) -> None:
        """Keep both.

        Args:
            library: What to search: a view of a library, or any index.
            calibration: How cosines become weights.
        """
        self._library = library
        self._calibration = calibration

    def retrieve(self, queries: Keys, *, references: int, retrieval_threshold: float = 0.0) -> Retrieved:
        """Find the references of one prompt.

        Args:
            queries: (Q, E) float32 unit vectors: the whole prompt first, then its object phrases.
            references: K, the most to return.
            retrieval_threshold: References of a smaller cosine are left out.

        Returns:
            At most K references.

        Raises:
            RetrievalError: The index refused the queries.
        """
        # K per query is enough: in the worst case the other queries' finds are all among this one's.
        ids, similarities = self._library.search(queries, references)
        rows, cosines = round_robin(ids, similarities, references)
        kept = cosines >= retrieval_threshold
        rows, cosines = rows[kept], cosines[kept]
        weights = reference_weights(cosines, low=self._calibration.low, high=self._calibration.high)
        return Retrieved(rows, cosines, weights)


def round_robin(
    ids: NDArray[np.int64], similarities: NDArray[np.float32], references: int
) -> tuple[Rows, NDArray[np.float32]]:
    """Take the best of every query, then the second best, and so on, without repeats.

    Args:
        ids: (Q, k) int64 library rows, best first.
        similarities: (Q, k) float32 cosines.
        references: K, where to stop.

    Returns:
        (K',) rows and (K',) cosines, K' <= K: fewer where the queries found fewer different rows.
    """
    chosen: dict[int, float] = {}
    for row, cosine in zip(ids.T.ravel().tolist(), similarities.T.ravel().tolist(), strict=True):
        if len(chosen) == references:
            break
        chosen.setdefault(row, cosine)
    return np.array(list(chosen), dtype=np.int64), np.array(list(chosen.values()), dtype=np.float32)
