"""Half precision overflows for some noise and not for other: many seeds, and how many gave no picture."""

from __future__ import annotations

from export.benchmark.errors import RowError
from export.benchmark.job import OURS, OURS_OFF, PROMPT, Job
from export.benchmark.process import Worker
from export.benchmark.rounds import Report


def count_bad(job: Job, seeds: int, report: Report) -> dict[str, int]:
    """Draw one picture per seed with retrieval and one without.

    The runtime refuses NaN, infinity and wholly black pictures by itself; its refusals are counted.

    Args:
        job: Of `OURS`.
        seeds: How many, from 0 on.
        report: Takes one line per bad picture.

    Returns:
        ``pictures``, ``not_finite`` and ``black``.

    Raises:
        RowError: The chain fails for another reason.
    """
    counts = {"pictures": 0, "not_finite": 0, "black": 0}
    with Worker(job) as worker:
        for seed in range(seeds):
            for row in (OURS, OURS_OFF):
                counts["pictures"] += 1
                try:
                    worker.draw(row, PROMPT, seed)
                except RowError as error:
                    counts[_kind(error)] += 1
                    report(f"  seed {seed}: {error}")
    return counts


def _kind(error: RowError) -> str:
    for sign, kind in (("black", "black"), ("NaN", "not_finite")):
        if sign in str(error):
            return kind
    raise error
