"""What searching threads notice of pictures that are added meanwhile."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.writer import LibraryWriter

NEIGHBORS = 10
_IDLE_SECONDS = 5.0


@dataclass
class Changing:
    """What was measured.

    Attributes:
        idle_ms: Milliseconds of searches while nothing changed.
        adding_ms: Of those while pictures were added.
        add_ms: Of a change.
        late: Added pictures that the next search did not find.
        errors: What searching threads raised.
    """

    idle_ms: list[float] = field(default_factory=list)
    adding_ms: list[float] = field(default_factory=list)
    add_ms: list[float] = field(default_factory=list)
    late: int = 0
    errors: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, float | int]:
        """Percentiles, and what went wrong."""
        idle, adding = (np.percentile(some, [50, 99]) for some in (self.idle_ms, self.adding_ms))
        return {
            "idle_p50_ms": round(float(idle[0]), 4),
            "idle_p99_ms": round(float(idle[1]), 4),
            "adding_p50_ms": round(float(adding[0]), 4),
            "adding_p99_ms": round(float(adding[1]), 4),
            "add_p50_ms": round(float(np.median(self.add_ms)), 4),
            "changes": len(self.add_ms),
            "late": self.late,
            "errors": len(self.errors),
        }


def measure_while_adding(
    directory: Path,
    queries: Keys,
    added: Keys,
    *,
    threads: int,
    at_once: int = 1,
    per_second: float = math.inf,
) -> Changing:
    """Search from several threads, first in peace and then while pictures are added.

    Args:
        directory: A library; it is changed.
        queries: (Q, E) float32 unit vectors; each thread asks them in turn, one at a time.
        added: (N, E) float32 unit vectors, one per picture.
        threads: How many search, without a pause.
        at_once: Pictures of one change.
        per_second: Pictures that come at most; infinity: each change follows the one before it.

    Returns:
        What was measured.

    Raises:
        RetrievalError: The library cannot be read.
        OutputError: It cannot be written.
    """
    measured = Changing()
    with closing(Library(directory)) as library:
        layout = library.view.layout

        def search(times: list[float], number: int) -> None:
            query = queries[number % len(queries)][None]
            start = time.perf_counter()
            rows, _ = library.search(query, NEIGHBORS)
            times.append(1000 * (time.perf_counter() - start))
            library.records(rows[0])

        def add() -> None:
            with LibraryWriter(directory) as writer:
                began = time.perf_counter()
                for first in range(0, len(added), at_once):
                    time.sleep(max(0.0, began + first / per_second - time.perf_counter()))
                    keys = added[first : first + at_once]
                    items = [
                        LibraryItem(f"added-{first + place}", "added", b"") for place in range(len(keys))
                    ]
                    features = np.zeros((len(keys), layout.tokens, layout.channels), np.float32)
                    start = time.perf_counter()
                    rows = writer.add(items, keys, features)
                    measured.add_ms.append(1000 * (time.perf_counter() - start))
                    found = library.search(keys, NEIGHBORS)[0]
                    measured.late += sum(row not in some for row, some in zip(rows, found, strict=True))

        _searching(threads, search, measured.idle_ms, measured.errors, lambda: time.sleep(_IDLE_SECONDS))
        _searching(threads, search, measured.adding_ms, measured.errors, add)
    return measured


def _searching(
    threads: int,
    search: Callable[[list[float], int], None],
    times: list[float],
    errors: list[str],
    meanwhile: Callable[[], None],
) -> None:
    """Search from threads until something else is done."""
    done = threading.Event()
    own: list[list[float]] = [[] for _ in range(threads)]

    def work(place: int) -> None:
        number = place
        try:
            while not done.is_set():
                search(own[place], number)
                number += threads
        except Exception as error:
            errors.append(repr(error))

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    try:
        meanwhile()
    finally:
        done.set()
        for worker in workers:
            worker.join()
    times += [value for some in own for value in some]
