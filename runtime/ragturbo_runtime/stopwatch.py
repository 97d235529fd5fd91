"""Milliseconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("text_encoder", "search", "features", "unet_encoder", "adapter", "unet_decoder", "vae_decoder")


class Stopwatch:
    """Sums the wall time of the stages of one call; not shared between threads."""

    def __init__(self) -> None:
        """Start the total."""
        self._start = time.perf_counter()
        self._stages = dict.fromkeys(STAGES, 0.0)

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
            self._stages[name] += (time.perf_counter() - start) * 1e3

    def add(self, other: Stopwatch) -> None:
        """Add the stages that another thread measured; those of two threads may have run at the same time."""
        for name, milliseconds in other._stages.items():
            self._stages[name] += milliseconds

    def timings(self) -> dict[str, float]:
        """Return the stages so far and ``total``, the milliseconds since the watch was made."""
        return {**self._stages, "total": (time.perf_counter() - self._start) * 1e3}
