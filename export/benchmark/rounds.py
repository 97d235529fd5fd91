"""Rounds: every worker of a group draws in turn, so that what slows the machine down meets them all."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from export.benchmark.errors import RowError
from export.benchmark.job import LABELS, OURS, OURS_OFF, PROMPT, Drawn, GraphRun, Job, Loaded
from export.benchmark.process import Worker
from export.parity import psnr_db

PAUSE_S = 0.05
"""Between two pictures: thread pools of the last one go to sleep."""
_BARE = "bare"
Report = Callable[[str], None]


@dataclass
class GroupTimes:
    """What one group measured; lists are parallel, one entry per round.

    Attributes:
        drawn_ms: By row, ours among them.
        stages_ms: By row of ours, by graph.
        bare: One list of graph runs per round; empty where they were not run.
        bare_failed: Why they were not run, where they should have been.
        psnr_db: By row, the worst of all rounds against ours without retrieval.
    """

    drawn_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stages_ms: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    bare: list[list[GraphRun]] = field(default_factory=list)
    bare_failed: str = ""
    psnr_db: dict[str, float] = field(default_factory=dict)


@dataclass
class Measured:
    """Everything that was measured of the rows."""

    groups: list[GroupTimes] = field(default_factory=list)
    loaded: dict[str, Loaded] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Row -> why it has no numbers."""


def measure(
    groups: Sequence[Sequence[str]], jobs: Mapping[str, Job], rounds: int, report: Report
) -> Measured:
    """Measure all groups, one after the other; the graphs of our chain run bare in the first.

    Args:
        groups: From `make_groups`.
        jobs: By row.
        rounds: Pictures per row and group, 1 or more.
        report: Takes one line per step.

    Returns:
        The times; a row that failed has a reason instead.
    """
    found = Measured()
    for number, group in enumerate(groups):
        report(f"group {number + 1} of {len(groups)}: {', '.join(LABELS[row] for row in group)}")
        with ExitStack() as stack:
            workers = _start(stack, group, jobs, found, report)
            if OURS in workers:
                found.groups.append(_draw(workers, rounds, number == 0, found, report))
    return found


def _start(
    stack: ExitStack, group: Sequence[str], jobs: Mapping[str, Job], found: Measured, report: Report
) -> dict[str, Worker]:
    """One after the other: memory and load times of several at once would be nobody's."""
    workers = {}
    for row in group:
        try:
            workers[row] = stack.enter_context(Worker(jobs[row]))
        except RowError as error:
            found.failed[row] = str(error)
            report(f"  {LABELS[row]}: {error}")
            continue
        found.loaded.setdefault(row, workers[row].loaded)
        report(f"  {LABELS[row]}: loaded in {workers[row].loaded.load_ms / 1e3:.1f} s")
    return workers


def _draw(workers: dict[str, Worker], rounds: int, bare: bool, found: Measured, report: Report) -> GroupTimes:
    times = GroupTimes()
    for number in range(rounds):
        pictures: dict[str, Drawn] = {}
        turn = list(workers)
        shift = number % len(turn)
        for row in turn[shift:] + turn[:shift]:
            try:
                pictures |= _one_turn(workers[row], number, times if bare else None)
            except RowError as error:
                found.failed[row] = f"in round {number + 1}: {error}"
                workers.pop(row).close()
        if OURS in workers:
            _note(times, pictures)
        report(f"  round {number + 1} of {rounds}: " + _milliseconds(pictures))
        if OURS not in workers:
            break
    return times


def _one_turn(worker: Worker, number: int, times: GroupTimes | None) -> dict[str, Drawn]:
    """One picture; or both of ours and the graphs alone, in another order each round: the first finds cold caches."""
    parts = [worker.job.row]
    if worker.job.row == OURS:
        parts = [OURS, OURS_OFF] if times is None else [OURS, OURS_OFF, _BARE]
        shift = number // 2 % len(parts)
        parts = parts[shift:] + parts[:shift]
        parts = parts[::-1] if number % 2 else parts
    pictures = {}
    for part in parts:
        time.sleep(PAUSE_S)
        if part != _BARE:
            pictures[part] = worker.draw(part, PROMPT, number)
        elif times is not None:
            _run_bare(worker, times)
    return pictures


def _run_bare(worker: Worker, times: GroupTimes) -> None:
    """What keeps the graphs from being run bare costs the row nothing else."""
    if times.bare_failed:
        return
    try:
        times.bare.append(worker.run_bare())
    except RowError as error:
        times.bare_failed = str(error)


def _note(times: GroupTimes, pictures: Mapping[str, Drawn]) -> None:
    for row, drawn in pictures.items():
        times.drawn_ms[row].append(drawn.milliseconds)
        for graph, milliseconds in drawn.stages.items():
            times.stages_ms[row][graph].append(milliseconds)
        if row not in (OURS, OURS_OFF):
            ratio = psnr_db(pictures[OURS_OFF].pixels, drawn.pixels)
            times.psnr_db[row] = min(ratio, times.psnr_db.get(row, ratio))


def _milliseconds(pictures: Mapping[str, Drawn]) -> str:
    return ", ".join(f"{LABELS[row]} {drawn.milliseconds:.1f} ms" for row, drawn in pictures.items())
