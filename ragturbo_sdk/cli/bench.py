"""``ragturbo bench``: what retrieval costs, measured side by side.

Each round draws the same prompt from the same seed twice, with and without retrieval, and every other round
in the opposite order: what slows the machine down meets both, and the difference of a pair is free of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragturbo_runtime.stopwatch import STAGES
from ragturbo_sdk.errors import RetrievalError
from ragturbo_sdk.generator import Generator
from ragturbo_sdk.result import GenerationResult

BUDGET = 0.10
"""The share of the time without retrieval that retrieval may cost at most."""
PROMPTS = (
    "a red apple",
    "a cat left of two pizzas on a blue background",
    "three small cherries and a hat in the snow",
    "a big dog at the beach",
)
RESAMPLES = 2000


@dataclass(frozen=True)
class BenchReport:
    """Measured times of calls that draw one picture, all in milliseconds."""

    on_ms: Sequence[float]
    """With retrieval, one per round."""
    off_ms: Sequence[float]
    """Without retrieval, of the same rounds."""
    stages_ms: Mapping[str, float]
    """Median of each stage with retrieval."""

    @property
    def overhead(self) -> float:
        """What retrieval costs: median of the paired differences, as a share of the median without it."""
        return float(np.median(np.subtract(self.on_ms, self.off_ms)) / np.median(self.off_ms))

    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of :attr:`overhead`, over rounds."""
        rounds = len(self.on_ms)
        drawn = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
        on, off = np.asarray(self.on_ms)[drawn], np.asarray(self.off_ms)[drawn]
        shares = np.median(on - off, axis=1) / np.median(off, axis=1)
        low, high = np.percentile(shares, [2.5, 97.5])
        return float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """What ``ragturbo bench --json`` prints."""
        return {
            "retrieval_on": _percentiles(self.on_ms),
            "retrieval_off": _percentiles(self.off_ms),
            "overhead": round(self.overhead, 4),
            "stages_ms": {stage: round(self.stages_ms[stage], 4) for stage in STAGES},
        }

    def as_text(self) -> str:
        """The same for people, with the answer whether the cost is within the budget."""
        on, off = _percentiles(self.on_ms), _percentiles(self.off_ms)
        lines = [
            f"{len(self.on_ms)} rounds, one picture each, milliseconds   p50      p95",
            f"  with retrieval                      {on['p50_ms']:12.2f} {on['p95_ms']:8.2f}",
            f"  without retrieval                   {off['p50_ms']:12.2f} {off['p95_ms']:8.2f}",
            "stages with retrieval, p50",
            *(f"  {stage:<36}{self.stages_ms[stage]:12.2f}" for stage in STAGES),
            self._verdict(),
        ]
        return "\n".join(lines)

    def _verdict(self) -> str:
        low, high = self.interval()
        if high <= BUDGET:
            answer = "yes"
        elif low > BUDGET:
            answer = "no"
        else:
            answer = "not certain: measure more rounds on a quiet machine"
        cost = f"retrieval costs {self.overhead:.1%} (95 % interval {low:.1%} to {high:.1%})"
        return f"{cost}; at most {BUDGET:.0%}: {answer}"


def measure(generator: Generator, *, rounds: int = 100, warmup: int = 5) -> BenchReport:
    """Measure what a picture costs with and without retrieval.

    Args:
        generator: An open generator whose bundle has a library.
        rounds: Pairs to measure, 1 or more.
        warmup: Pairs to draw before, which are not counted.

    Returns:
        The times.

    Raises:
        RetrievalError: The bundle has no library, so there is nothing to compare.
    """
    if not generator.info.default_references:
        hint = "give a bundle with a library and references by default"
        raise RetrievalError(f"bundle {generator.info.name!r} looks nothing up", hint=hint)
    times: dict[bool, list[float]] = {True: [], False: []}
    stages: dict[str, list[float]] = defaultdict(list)
    for number in range(-warmup, rounds):
        order = (True, False) if number % 2 else (False, True)
        for retrieval in order:
            elapsed, result = _draw(generator, number + warmup, retrieval=retrieval)
            if number < 0:
                continue
            times[retrieval].append(elapsed)
            if retrieval:
                for stage in STAGES:
                    stages[stage].append(result.timings[stage])
    medians = {stage: float(np.median(stages[stage])) for stage in STAGES}
    return BenchReport(on_ms=times[True], off_ms=times[False], stages_ms=medians)


def _draw(generator: Generator, number: int, *, retrieval: bool) -> tuple[float, GenerationResult]:
    """One call and its time in milliseconds, as a host sees it: everything from the prompt to the picture."""
    prompt = PROMPTS[number % len(PROMPTS)]
    start = time.perf_counter()
    result = generator.generate(prompt, seed=number, retrieval=retrieval)
    return (time.perf_counter() - start) * 1e3, result


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}
