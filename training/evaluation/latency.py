"""What a picture costs, row by row, in one runtime: torch, float32, one picture at a time."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from training.atomic import save_atomically
from training.evaluation.artists import Artists
from training.evaluation.latency_parts import timed_parts
from training.evaluation.rows import Row

ROUNDS = 7
"""Pictures of each row; the rows take turns, so that what else the machine does hits all alike."""


def measure_latency(
    artists: Artists, rows: Sequence[Row], cache: Path, *, rounds: int = ROUNDS
) -> dict[str, float]:
    """Time the rows, or read what an earlier call timed.

    Args:
        artists: Who draws; the adapter is timed in torch too.
        rows: Which.
        cache: Folder of kept times; other weights are timed anew.
        rounds: Pictures of each row.

    Returns:
        Median milliseconds from prompt to picture, retrieval's search excluded, by row; and those of the parts that
        retrieval adds, by `timed_parts`.
    """
    in_torch = replace(artists, bundle=None)
    needs = {row.name: row.depends_on(in_torch) for row in rows}
    measured = {"rows": needs, "rounds": rounds, "parts": True}
    key = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"latency-{key}.json"
    if not path.exists():
        times = _time(in_torch, rows, rounds)
        save_atomically(path, lambda beside: beside.write_text(json.dumps(times), encoding="utf-8"))
    known: Mapping[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return dict(known)


def _time(artists: Artists, rows: Sequence[Row], rounds: int) -> dict[str, float]:
    with ExitStack() as stack, torch.inference_mode():
        draws: dict[str, Callable[[Sequence[int]], object]] = dict(timed_parts(artists))
        draws |= {row.name: stack.enter_context(row.draw(artists)) for row in rows}
        times: dict[str, list[float]] = {name: [] for name in draws}
        for number in range(rounds + 1):
            for name, draw in draws.items():
                start = time.perf_counter()
                draw([number % len(artists.prompts)])
                times[name].append(1000 * (time.perf_counter() - start))
    return {
        name: round(statistics.median(some[1:]), 2) for name, some in times.items()
    }  # the first one loads
