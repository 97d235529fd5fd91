"""Pictures a second of one generator and of its graphs run bare, with one caller and with several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from export.benchmark.bare import Recorder
from ragturbo_sdk import Generator

PROMPT = "a cat left of two pizzas on a blue background"


@dataclass
class Throughput:
    """Pictures a second of each round.

    Attributes:
        ours: By the number of callers.
        bare: The same of the graphs alone: what ONNX Runtime itself gains from several callers.
    """

    ours: dict[int, list[float]] = field(default_factory=dict)
    bare: dict[int, list[float]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many there have been."""
        return min(map(len, self.bare.values()))

    def gain(self, rates: dict[int, list[float]], callers: int, *, last: int) -> float:
        """How many times as many pictures so many callers get as one does: the median over the last rounds."""
        return float(np.median(np.array(rates[callers][-last:]) / np.array(rates[1][-last:])))


def measure(*, threads: int | None, callers: int, pictures: int, rounds: int) -> Iterator[Throughput]:
    """Measure the bundled model in turns, so that whatever else the machine does falls on all alike.

    Args:
        threads: Of the generator.
        callers: Threads of the second figure.
        pictures: Of each figure, in all.
        rounds: Times that each is measured, at most.

    Yields:
        All that has been measured, after each round.
    """
    found, recorder = Throughput(), Recorder()
    with recorder.sessions_of({}), Generator(threads=threads, device="cpu") as generator:
        generator.warmup()
        calls = recorder.recorded(lambda: generator.generate(PROMPT, seed=0))

        def ours(seed: int) -> None:
            generator.generate(PROMPT, seed=seed)

        def bare(_: int) -> None:
            for call in calls:
                call.again()

        for _ in range(rounds):
            for count in (1, callers):
                found.ours.setdefault(count, []).append(rate(ours, count, pictures))
                found.bare.setdefault(count, []).append(rate(bare, count, pictures))
            yield found


def rate(draw: Callable[[int], None], callers: int, pictures: int) -> float:
    """Pictures a second."""

    def work(place: int) -> None:
        for seed in range(place, pictures, callers):
            draw(seed)

    with ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        list(pool.map(work, range(callers)))
        return pictures / (time.perf_counter() - start)
