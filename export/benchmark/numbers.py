"""From times to the numbers of docs/performance.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.benchmark.job import BASELINES, OURS, OURS_OFF
from export.benchmark.rounds import GroupTimes, Measured

RESAMPLES = 2000
Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]


def summarise(measured: Measured, min_psnr_db: float) -> dict[str, Any]:
    """Percentiles, ratios and overheads, as docs/performance.json holds them.

    Args:
        measured: From `measure`; what draws another picture than ours moves to its failed rows.
        min_psnr_db: Two pictures that are further apart are not the same.

    Returns:
        JSON without times of loading.
    """
    pooled = _pooled(measured)
    _refuse_other_pictures(measured, min_psnr_db)
    ratios = {f"vs_{row}": _against(measured, row) for row in BASELINES if row not in measured.failed}
    known = {name: found for name, found in ratios.items() if found is not None}
    overhead = with_interval(_overhead, pooled.get(OURS, []), pooled.get(OURS_OFF, []))
    bare = _bare(measured)
    intervals = {
        name: found[1:] for name, found in {**known, "retrieval_overhead": overhead}.items() if found
    }
    return {
        **{name: None for name in (f"vs_{row}" for row in BASELINES)},
        **{name: found[0] for name, found in known.items()},
        "retrieval_overhead": None if overhead is None else overhead[0],
        **bare,
        "intervals": intervals,
        "ms": {row: percentiles(ms) for row, ms in pooled.items() if row not in measured.failed},
        "psnr_db": _ratios(measured),
    }


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, in the unit of the times."""
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}


def with_interval(
    statistic: Statistic, first: Sequence[float], second: Sequence[float]
) -> tuple[float, float, float] | None:
    """A statistic of paired times, and the ends of its 95 % bootstrap interval over rounds.

    Args:
        statistic: Takes two arrays (..., rounds) and returns (...).
        first: (rounds,) times.
        second: (rounds,) times of the same rounds.

    Returns:
        Value, low, high; None without times.
    """
    if not first or len(first) != len(second):
        return None
    a, b = np.asarray(first), np.asarray(second)
    drawn = np.random.default_rng(0).integers(0, len(a), (RESAMPLES, len(a)))
    low, high = np.percentile(statistic(a[drawn], b[drawn]), [2.5, 97.5])
    return round(float(statistic(a, b)), 4), round(float(low), 4), round(float(high), 4)


def _ratio(theirs: Floats, ours: Floats) -> Floats:
    return np.asarray(np.median(theirs, axis=-1) / np.median(ours, axis=-1))


def _overhead(on: Floats, off: Floats) -> Floats:
    """Median of the paired differences: what slows a round down is in both, and falls out."""
    return np.asarray(np.median(on - off, axis=-1) / np.median(off, axis=-1))


def _against(measured: Measured, row: str) -> tuple[float, float, float] | None:
    """Their median over ours with retrieval, in the rounds that both were in."""
    for group in measured.groups:
        if row in group.drawn_ms:
            return with_interval(_ratio, group.drawn_ms[row], group.drawn_ms[OURS])
    return None


def _pooled(measured: Measured) -> dict[str, list[float]]:
    """By row, the times of all groups: ours are in each."""
    pooled: dict[str, list[float]] = {}
    for group in measured.groups:
        for row, times in group.drawn_ms.items():
            pooled.setdefault(row, []).extend(times)
    return pooled


def _refuse_other_pictures(measured: Measured, min_psnr_db: float) -> None:
    for row, ratio in _worst(measured).items():
        if not ratio >= min_psnr_db:
            measured.failed[row] = (
                f"it draws another picture than ours without retrieval: PSNR {ratio:.1f} dB, at least "
                f"{min_psnr_db:.0f} dB are needed"
            )


def _worst(measured: Measured) -> dict[str, float]:
    return {row: ratio for group in measured.groups for row, ratio in group.psnr_db.items()}


def _ratios(measured: Measured) -> dict[str, float | None]:
    """JSON has no infinity: equal pictures are written as null."""
    return {row: round(r, 1) if math.isfinite(r) else None for row, r in _worst(measured).items()}


def _bare(measured: Measured) -> dict[str, Any]:
    """Our chain over the sum of its graphs run bare, and the split of both."""
    group = next((group for group in measured.groups if group.bare), None)
    graphs = {} if group is None else {"bare": _split_bare(group)}
    for row, stages in _stages(measured).items():
        graphs[row] = {graph: round(float(np.median(times)), 3) for graph, times in stages.items()}
    on, off = (None, None) if group is None else (_over_bare(group, OURS), _over_bare(group, OURS_OFF))
    return {"vs_sum_of_graphs": on, "vs_sum_of_graphs_without_retrieval": off, "per_graph_ms": graphs}


def _over_bare(group: GroupTimes, row: str) -> float:
    sums = [sum(run.milliseconds for run in runs if row == OURS or not run.retrieval) for runs in group.bare]
    return round(float(np.median(np.divide(group.drawn_ms[row], sums))), 4)


def _split_bare(group: GroupTimes) -> dict[str, float]:
    """Medians by graph; what retrieval alone runs of a graph that runs without it too has a name of its own."""
    always = {run.graph for run in group.bare[0] if not run.retrieval}
    times: dict[str, list[float]] = {}
    for runs in group.bare:
        for run in runs:
            name = f"{run.graph} (phrases)" if run.retrieval and run.graph in always else run.graph
            times.setdefault(name, []).append(run.milliseconds)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def _stages(measured: Measured) -> dict[str, dict[str, list[float]]]:
    pooled: dict[str, dict[str, list[float]]] = {}
    for group in measured.groups:
        for row, stages in group.stages_ms.items():
            for graph, times in stages.items():
                pooled.setdefault(row, {}).setdefault(graph, []).extend(times)
    return pooled
