"""One measurement, from making the keys to the neighbours that were not found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.exactly import exact_times
from ragturbo_runtime.library_bench.making import Made, disk_bytes, make_library
from ragturbo_runtime.library_bench.searching import (
    NEIGHBORS,
    WARM_UP,
    Searched,
    percentile,
    search_apart,
)

_EXACT_SEARCHES = 20


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        made: Making the library.
        searched: Searching it.
        recall: Share of the true 10 nearest, among the keys before they were stored, that was found.
        exact_ms: Milliseconds of each of some exact searches.
        disk_bytes: Of keys and index.
        total_bytes: Of all files.
    """

    made: Made
    searched: Searched
    recall: float
    exact_ms: list[float]
    disk_bytes: int
    total_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The numbers that count, rounded; ``rss_bytes`` is None where the system does not say."""
        search_ms = self.searched.search_ms
        index = None if self.made.index is None else asdict(self.made.index)
        if index is not None:
            del index["files"]  # hashes
        return {
            "index": index,
            "add_s": round(self.made.add_s, 3),
            "build_s": round(self.made.build_s, 3),
            "open_s": round(self.searched.open_s, 4),
            "p50_ms": round(percentile(search_ms, 50), 4),
            "p99_ms": round(percentile(search_ms, 99), 4),
            "recall_at_10": round(self.recall, 4),
            "exact_p50_ms": round(float(np.median(self.exact_ms)), 4),
            "disk_bytes": self.disk_bytes,
            "total_bytes": self.total_bytes,
            "rss_bytes": self.searched.rss_bytes,
        }


def measure_library(
    directory: Path, keys: ClusteredKeys, *, queries: int, report: Callable[[str], None]
) -> Measured:
    """Make a library, search it, and compare with exact search.

    Args:
        directory: It is made, and stays; it must hold no library.
        keys: What it gets, 10 or more.
        queries: Q, 1 or more.
        report: Is told what is done next.

    Returns:
        What was measured.

    Raises:
        OutputError: The folder cannot be written, or holds a library.
        RetrievalError: The process that searches failed.
    """
    report(f"making a library of {keys.count} keys")
    made = make_library(directory, keys)
    report(f"searching it {queries} times")
    asked = keys.queries(WARM_UP + queries)
    searched = search_apart(directory, asked)
    report("comparing with exact search")
    asked = asked[WARM_UP:]
    true = nearest(asked, keys.blocks(), NEIGHBORS)
    exact_ms = exact_times(directory, made.layout, asked[:_EXACT_SEARCHES], NEIGHBORS)
    recall = recall_of(np.array(searched.rows), true)
    return Measured(made, searched, recall, exact_ms, *disk_bytes(directory, made.layout))
