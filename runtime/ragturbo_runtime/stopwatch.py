"""Milliseconds by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

STAGES = ("text_encoder", "search", "features", "unet_encoder", "adapter", "unet_decoder", "vae_decoder")


class Interval(NamedTuple):
    """When a stage ran, in seconds of ``time.perf_counter``."""

    stage: str
    start: float
    end: float


class Stopwatch:
    """Sums the wall time of the stages of one call; not shared between threads.

    Attributes:
        intervals: When each stage ran, in the order of their ends, those of another thread behind.
    """

    def __init__(self, stage_done: Callable[[str], None] | None = None) -> None:
        """Start the total.

        Args:
            stage_done: Called with the name of each stage at its end.
        """
        self._start = time.perf_counter()
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._stage_done = stage_done
        self.intervals: list[Interval] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a stage.

        Args:
            name: One of STAGES.

        Yields:
            Nothing.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            self._stages[name] += (end - start) * 1e3
            self.intervals.append(Interval(name, start, end))
        if self._stage_done is not None:
            self._stage_done(name)

    def add(self, other: Stopwatch) -> None:
        """Add the stages that another thread measured; those of two threads may have run at the same time."""
        self.intervals += other.intervals
        for name, milliseconds in other._stages.items():
            self._stages[name] += milliseconds

    def timings(self) -> dict[str, float]:
        """Return the stages so far and ``total``, the milliseconds since the watch was made."""
        return {**self._stages, "total": (time.perf_counter() - self._start) * 1e3}
