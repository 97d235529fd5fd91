"""What finding the nearest keys takes without an index."""

from __future__ import annotations

import time
from pathlib import Path

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.library.key_rows import decode_keys
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.rows_file import map_rows


def exact_times(directory: Path, layout: Layout, queries: Keys, k: int) -> list[float]:
    """Time exact search of the keys that a library has.

    Args:
        directory: The library's folder.
        layout: Of the library.
        queries: (Q, E) float32 unit vectors, searched one by one.
        k: How many neighbours.

    Returns:
        Milliseconds of each search.
    """
    index = ExactIndex(
        decode_keys(map_rows(directory / layout.keys_file, layout.key_row, layout.rows, at_random=False))
    )
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query[None], k)
        times.append((time.perf_counter() - start) * 1e3)
    return times
