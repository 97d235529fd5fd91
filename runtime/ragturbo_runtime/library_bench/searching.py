"""A process that opens a library, searches it query by query, and says what that took.

A process of its own, so that opening and memory are those of an application that starts: ``python -m
ragturbo_runtime.library_bench.searching LIBRARY QUERIES.npy``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.errors import OutputError, RetrievalError
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library_bench.memory import resident_bytes

Search = Callable[[Keys, int], tuple[NDArray[np.int64], NDArray[np.float32]]]

NEIGHBORS = 10
WARM_UP = 50
"""Searches that are not counted: the first ones of a process."""
ROUNDS = 3


@dataclass(frozen=True)
class Searched:
    """What searching took.

    Attributes:
        open_s: Seconds to open the library.
        search_ms: (3, Q) milliseconds of each search: all queries, three times.
        rows: (Q, 10) rows that were found.
        rss_bytes: By which opening and searching made the process grow; None where the system does not say.
    """

    open_s: float
    search_ms: list[list[float]]
    rows: list[list[int]]
    rss_bytes: int | None


def search_apart(directory: Path, queries: Keys) -> Searched:
    """Search a library in a process of its own.

    Args:
        directory: The library's folder; a file beside it holds the queries meanwhile.
        queries: (50 + Q, E) float32 unit vectors; the first 50 are searched to warm up.

    Returns:
        What it took.

    Raises:
        OutputError: The queries cannot be written.
        RetrievalError: The process failed; says how.
    """
    file = directory.with_name(f"{directory.name}-queries.npy")
    command = [sys.executable, "-P", "-m", __name__, str(directory), str(file)]
    # It finds the packages where this process finds them.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        np.save(file, queries)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as exc:
        raise OutputError(
            f"{file}: cannot be written or searched for ({exc})",
            path=file,
            hint="choose a writable folder with room",
        ) from exc
    finally:
        file.unlink(missing_ok=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        message = f"{directory}: the process that searches it failed ({lines[-1]})"
        raise RetrievalError(message, hint="try fewer keys")
    return Searched(**json.loads(done.stdout.splitlines()[-1]))


def timed(search: Search, queries: Keys) -> tuple[list[float], NDArray[np.int64]]:
    """Search query by query.

    Args:
        search: Of an index or a library.
        queries: (Q, E) float32 unit vectors.

    Returns:
        (Q,) milliseconds, and the (Q, 10) rows that were found.
    """
    times, rows = [], []
    for query in queries:
        start = time.perf_counter()
        found, _ = search(query[None], NEIGHBORS)
        times.append((time.perf_counter() - start) * 1e3)
        rows.append(found[0])
    return times, np.stack(rows)


def percentile(search_ms: list[list[float]], percent: float) -> float:
    """Return a percentile of the searches of the middle round: what disturbs one round alone does not count."""
    return float(np.median(np.percentile(search_ms, percent, axis=1)))


def _search(directory: Path, queries: Keys) -> Searched:
    before = resident_bytes()
    start = time.perf_counter()
    library = Library(directory)
    open_s = time.perf_counter() - start
    for query in queries[:WARM_UP]:
        library.search(query[None], NEIGHBORS)
    rounds = [timed(library.search, queries[WARM_UP:]) for _ in range(ROUNDS)]
    after = resident_bytes()
    library.close()
    grown = None if after is None or before is None else after - before
    return Searched(open_s, [times for times, _ in rounds], rounds[0][1].tolist(), grown)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_search(Path(sys.argv[1]), np.load(sys.argv[2])))) + "\n")
