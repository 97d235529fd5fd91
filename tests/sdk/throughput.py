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
    """What several callers gain over one, in each round.

    Attributes:
        ours: Pictures a second of all callers, over those of one.
        bare: The same of the graphs alone: what ONNX Runtime itself gains from several callers.
    """

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Our gain over the bare graphs', within a round: the median over all of them."""
        return float(np.median(np.array(self.ours) / np.array(self.bare)))

    def __str__(self) -> str:
        """Both gains and their ratio."""
        ours, bare = np.median(self.ours), np.median(self.bare)
        return f"ours {ours:.3f}, bare {bare:.3f}, {self.ratio:.3f} of it, in {len(self.bare)} rounds"


def measure(*, threads: int | None, callers: int, pictures: int, rounds: int) -> Iterator[Throughput]:
    """Measure the bundled model in turns, so that whatever else the machine does falls on all alike.

    Args:
        threads: Of the generator.
        callers: Threads of the second figure of each.
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

        # The callers stay: ONNX Runtime's first graph in a new thread takes 4 ms more.
        with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(callers) as many:
            for _ in range(rounds):
                one, other = rate(ours, alone, 1, pictures), rate(bare, alone, 1, pictures)
                found.ours.append(rate(ours, many, callers, pictures) / one)
                found.bare.append(rate(bare, many, callers, pictures) / other)
                yield found


def rate(draw: Callable[[int], None], pool: ThreadPoolExecutor, callers: int, pictures: int) -> float:
    """Pictures a second."""

    def work(place: int) -> None:
        for seed in range(place, pictures, callers):
            draw(seed)

    start = time.perf_counter()
    list(pool.map(work, range(callers)))
    return pictures / (time.perf_counter() - start)
