"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named phases.

    Args:
        device: On a GPU the phases wait for its queue, so that each gets what it costs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.laps = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside the block."""
        started = self._now()
        yield
        self.seconds[name] += self._now() - started

    def lap(self) -> None:
        """Count one whole step."""
        self.laps += 1

    def reset(self) -> None:
        """Forget everything: the first steps are not like the others."""
        self.seconds.clear()
        self.laps = 0

    @property
    def step_seconds(self) -> float:
        """Mean seconds of a step."""
        return sum(self.seconds.values()) / max(1, self.laps)

    def breakdown(self) -> str:
        """Say what a step costs, the dearest phase first."""
        laps = max(1, self.laps)
        dearest = sorted(self.seconds.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{name} {1000 * spent / laps:.0f}" for name, spent in dearest)
        return f"{1000 * self.step_seconds:.0f} ms a step: {parts}"

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
