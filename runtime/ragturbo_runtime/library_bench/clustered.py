"""Keys by chance that lie in clusters, as those of captions do; made in blocks, since many do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys

_BLOCK = 8_192
"""Rows made at a time."""
_CLUSTERS, _PER_CLUSTER = 4_000, 20
_LOOSEST, _TIGHTEST = 0.5, 0.8
_CENTRES, _KEYS, _QUERIES = 0, 1, 2
"""Streams of random numbers of one seed."""


@dataclass(frozen=True)
class ClusteredKeys:
    """A set of unit vectors that follows from its numbers.

    There are 4,000 clusters, fewer where there are less than 20 keys for each. Centres lie anywhere; two keys of one
    cluster have a cosine of 0.5 to 0.8, each cluster its own. Within a cluster keys differ in all directions alike:
    what is near to a query is then hardly nearer than the rest of the cluster, which is hard on an index.

    Attributes:
        count: N.
        dim: E.
        seed: Decides all of them.
    """

    count: int
    dim: int
    seed: int

    def blocks(self) -> Iterator[Keys]:
        """Make the keys.

        Yields:
            (n, E) float32 unit vectors, N of them in all, the same ones each time.
        """
        centres, cosines = self._clusters()
        for number, start in enumerate(range(0, self.count, _BLOCK)):
            random = np.random.default_rng((self.seed, _KEYS, number))
            yield _members(random, min(_BLOCK, self.count - start), centres, cosines)

    def queries(self, count: int) -> Keys:
        """Make queries: members of the same clusters that are not in the set.

        Args:
            count: Q.

        Returns:
            (Q, E) float32 unit vectors.
        """
        return _members(np.random.default_rng((self.seed, _QUERIES)), count, *self._clusters())

    def _clusters(self) -> tuple[Keys, NDArray[np.float32]]:
        """(C, E) centres, and the (C,) cosine of two members."""
        random = np.random.default_rng((self.seed, _CENTRES))
        count = max(1, min(_CLUSTERS, self.count // _PER_CLUSTER))
        centres = _units(random.standard_normal((count, self.dim), dtype=np.float32))
        return centres, random.uniform(_LOOSEST, _TIGHTEST, count).astype(np.float32)


def _members(random: np.random.Generator, count: int, centres: Keys, cosines: NDArray[np.float32]) -> Keys:
    """A member is sqrt(c) of its centre and sqrt(1 - c) of its own: two of them have about the cosine c."""
    cluster = random.integers(0, len(centres), count)
    own = _units(random.standard_normal((count, centres.shape[1]), dtype=np.float32))
    cosine = cosines[cluster, None]
    own *= np.sqrt(1 - cosine)
    own += np.sqrt(cosine) * centres[cluster]
    return _units(own)


def _units(values: Keys) -> Keys:
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values
