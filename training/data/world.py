"""Which concepts a family draws, and how often each appears where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.data.concepts import concepts

Split = Literal["train", "library", "benchmark", "validation"]
Frequency = Literal["common", "rare", "library_only"]
SPLITS: tuple[Split, ...] = get_args(Split)

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
        names = self.names
        unknown = sorted(set(names) - set(concepts()))
        if unknown:
            raise ValueError(f"unknown concepts {unknown}: training/data/concepts.tsv lists those there are")
        if len(set(names)) != len(names):
            raise ValueError("a concept is named twice: common, rare and library_only must not overlap")

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the family: common, then rare, then library-only."""
        return self.common + self.rare + self.library_only

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """The known concepts that this family never draws."""
        return tuple(name for name in concepts() if name not in set(self.names))

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


def parse_world(table: dict[str, object]) -> World:
    """Read a config's ``[world]`` table.

    Args:
        table: Keys of `World`; lists of names.

    Raises:
        ValueError: An unknown key, a name twice, or a name that is no concept.
    """
    known = set(World.__dataclass_fields__)
    if unknown := sorted(set(table) - known):
        raise ValueError(f"[world] has unknown keys {unknown}; allowed are {sorted(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return World(**values)  # type: ignore[arg-type]
