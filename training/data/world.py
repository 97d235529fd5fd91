"""Which concepts a family draws, and how often each appears where."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.config import parse_table
from training.data.concepts import concepts
from training.data.inventions import is_invented

Split = Literal["train", "library", "benchmark", "validation"]
Frequency = Literal["common", "rare", "library_only"]
SPLITS: tuple[Split, ...] = get_args(Split)

KINDS_IN_A_SCENE = 3
"""As many different things as one scene may show: of a world with fewer it could never be drawn."""
BENCHMARK_SHARES = {"common": 0.6, "rare": 0.25, "library_only": 0.15}
"""The benchmark asks for the long tail more often than training shows it: there a reference can help."""


@dataclass(frozen=True)
class World:
    """The family's subset of the concepts; all others stay unseen, for benchmarks of new concepts."""

    common: tuple[str, ...]
    """Names that training sees often."""
    rare: tuple[str, ...]
    """Names that training sees `rare_factor` times as often."""
    library_only: tuple[str, ...]
    """Names that no training of the base sees: only the library (and the benchmark) shows them."""
    rare_factor: float = 0.05
    """Frequency of a rare concept relative to a common one, in (0, 1]."""
    seed: int = 0
    """Everything is drawn from it, 0 or more."""

    def __post_init__(self) -> None:
        """Refuse names and numbers that no scene can be drawn with."""
        names = self.names
        unknown = sorted(name for name in set(names) - set(concepts()) if not is_invented(name))
        if unknown:
            raise ValueError(f"unknown concepts {unknown}: training/data/concepts.tsv lists those there are")
        if len(set(names)) != len(names):
            raise ValueError("a concept is named twice: common, rare and library_only must not overlap")
        trained = len(self.common) + len(self.rare)
        if trained < KINDS_IN_A_SCENE:
            raise ValueError(
                f"common and rare name {trained} concepts; a scene shows up to {KINDS_IN_A_SCENE} kinds of thing: name "
                "that many or more"
            )
        if not 0 < self.rare_factor <= 1:
            raise ValueError(f"rare_factor is {self.rare_factor}; it must be over 0 and at most 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the family: common, then rare, then library-only."""
        return self.common + self.rare + self.library_only

    @property
    def digest(self) -> str:
        """SHA-256, hex, of all that the scenes are drawn from: what was made of another world is told by it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """The known concepts that this family never draws."""
        return tuple(name for name in concepts() if name not in set(self.names))

    @cached_property
    def lent(self) -> tuple[str, ...]:
        """Three quarters of the unseen concepts: an adapter may learn on them to draw what its base does not know.

        The last quarter stays new to every training. The name alone decides, so that it does not change with the world.
        """
        return tuple(name for name in self.unseen if _quarter(name) > 0)

    def frequency(self, name: str) -> Frequency:
        """How often training shows a concept of this family."""
        if name in self.common:
            return "common"
        return "rare" if name in self.rare else "library_only"

    def weights(self, split: Split) -> NDArray[np.float64]:
        """The chance of each of `names` in a split.

        Args:
            split: One of `SPLITS`. Training follows the long tail, the library is even, validation and the benchmark
                take `BENCHMARK_SHARES`.

        Returns:
            (len(names),) float64, sums to 1.
        """
        sizes = (len(self.common), len(self.rare), len(self.library_only))
        if split == "train":
            per_name: Sequence[float] = (1.0, self.rare_factor, 0.0)
        elif split == "library":
            per_name = (1.0, 1.0, 1.0)
        else:
            per_name = [
                share / max(size, 1) for share, size in zip(BENCHMARK_SHARES.values(), sizes, strict=True)
            ]
        weights = np.repeat(np.asarray(per_name, dtype=np.float64), sizes)
        return np.asarray(weights / weights.sum())


def _quarter(name: str) -> int:
    """0 to 3, by the name alone."""
    return hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 4


def parse_world(table: Mapping[str, object], where: str = "[world]") -> World:
    """Read a config's ``[world]`` table.

    Args:
        table: Keys of `World`; lists of names.
        where: How errors call the table, e.g. ``"emoji.toml [world]"``.

    Raises:
        ValueError: An unknown or missing key, a value of another type or out of range, a name twice, one that is no
            concept, or too few of them.
    """
    return parse_table(World, table, where)
