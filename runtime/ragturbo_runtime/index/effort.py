"""How much of an index has to be looked through: measured against exact search, when the index is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.index.candidates import Proposer, RankedIndex
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.index.partition import decoded
from ragturbo_runtime.library.key_rows import decode_keys

NEIGHBORS = 10
TARGET_RECALL = 0.97
"""Of the 10 nearest. Above the 0.95 that is promised: these queries are a sample."""
_QUERIES = 256
_LEAST = 4
"""Parts that are always looked through: these queries are nearer to their keys than others may be."""
_COSINE = 0.9
"""Of a query with the key that it was made from: as near as a prompt is to a good reference's caption."""


@dataclass(frozen=True)
class Effort:
    """What was chosen.

    Attributes:
        leaves: Parts of the index that are looked through.
        recall: Share of the true 10 nearest that was then found.
    """

    leaves: int
    recall: float


def choose_effort(
    proposer: Proposer, keys: NDArray[Any], leaves: int, *, target: float = TARGET_RECALL
) -> Effort:
    """Look through more and more of an index, until it finds enough.

    Args:
        proposer: The index.
        keys: N rows, from `ragturbo_runtime.library.key_rows`.
        leaves: Parts that the index has.
        target: Recall that is enough, in [0, 1].

    Returns:
        The smallest tried effort that reaches the target; all parts if none does.
    """
    queries = sample_queries(keys)
    true = nearest(queries, decoded(keys), NEIGHBORS)
    effort = least_effort(leaves)
    while True:
        found, _ = RankedIndex(proposer, keys, effort).search(queries, NEIGHBORS)
        recall = recall_of(found, true)
        if recall >= target or effort == leaves:
            return Effort(effort, recall)
        effort = min(leaves, effort * 3 // 2)


def least_effort(leaves: int) -> int:
    """Return how many parts are looked through at least, of so many that an index has."""
    return min(leaves, max(_LEAST, leaves // 128))


def sample_queries(keys: NDArray[Any], count: int = _QUERIES, seed: int = 0) -> Keys:
    """Make queries that are near some keys, as prompts are near captions.

    Args:
        keys: N stored rows.
        count: How many, at most N.
        seed: Decides which.

    Returns:
        (Q, E) float32 unit vectors.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(keys), min(count, len(keys)), replace=False))
    chosen = decode_keys(keys[rows])
    noise = rng.standard_normal(chosen.shape, dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    queries = _COSINE * chosen + np.float32((1 - _COSINE**2) ** 0.5) * noise
    return np.ascontiguousarray(queries / np.linalg.norm(queries, axis=1, keepdims=True))
