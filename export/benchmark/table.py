"""The table of one device and family, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.benchmark.job import LABELS, OURS, OURS_OFF
from training.evaluation.tables import table

GIB = 2**30


def rows_table(entry: Mapping[str, Any]) -> list[str]:
    """All rows: latency, ratio to ours with retrieval, loading, memory."""
    header = ["row", "p50 ms", "p95 ms", "over ours", "load s", "of it compiling", "peak GiB"]
    return table(header, [[LABELS[row], *_cells(entry, row)] for row in LABELS if row in entry["ms"]])


def graphs_table(entry: Mapping[str, Any]) -> list[str]:
    """Our chain by graph: in the chain, bare, and the floor."""
    split, floor = entry["per_graph_ms"], entry["floor"]["graphs"]
    names = list(dict.fromkeys([*floor, *split.get(OURS, {}), *split.get("bare", {})]))
    columns = [split.get(OURS, {}), split.get(OURS_OFF, {}), split.get("bare", {})]
    body = [
        [
            name,
            *(_number(column.get(name)) for column in columns),
            _number(floor.get(name, {}).get("ms")),
            _number(floor.get(name, {}).get("gflop")),
            _number(floor.get(name, {}).get("mbytes")),
        ]
        for name in names
    ]
    header = ["ms by graph", "with retrieval", "without", "bare", "floor", "GFLOP", "MB"]
    return table(header, body)


def sentences(entry: Mapping[str, Any]) -> list[str]:
    """What the numbers say, one line each."""
    floor = entry["floor"]
    lines = []
    if entry["retrieval_overhead"] is not None:
        low, high = entry["intervals"]["retrieval_overhead"]
        share = f"{entry['retrieval_overhead']:.2%} [{low:.2%}, {high:.2%}]"
        lines.append(f"Retrieval costs {share} of a picture without it.")
    if entry["vs_sum_of_graphs"] is not None:
        with_, without = entry["vs_sum_of_graphs"], entry["vs_sum_of_graphs_without_retrieval"]
        lines.append(
            f"The chain takes {with_:.4f} of the sum of its graphs run bare, {without:.4f} without retrieval."
        )
    lines.append(
        f"The floor is {_number(entry['floor_ms'])} ms: {floor['gflops_per_s']:,.0f} GFLOP/s and "
        f"{floor['gbytes_per_s']:,.1f} GB/s were measured."
    )
    lines += _exceptions(entry)
    return lines


def _exceptions(entry: Mapping[str, Any]) -> list[str]:
    """What is to be known beside the numbers."""
    lines = []
    ratios = {LABELS[row]: ratio for row, ratio in entry["psnr_db"].items() if row in entry["ms"]}
    if ratios:
        said = "; ".join(f"{label}: {_decibels(ratio)}" for label, ratio in ratios.items())
        lines.append(f"All these rows draw one picture. PSNR to ours without retrieval: {said}.")
    lines += [f"{LABELS[row]}: {note}." for row, note in entry["notes"].items()]
    lines += [f"Not measured: {LABELS.get(row, row)}: {reason}." for row, reason in entry["failed"].items()]
    if (safety := entry.get("safety")) is not None:
        lines.append(
            f"Of {safety['pictures']} pictures, {safety['not_finite']} were not finite and {safety['black']} black."
        )
    return lines


def _cells(entry: Mapping[str, Any], row: str) -> list[str]:
    times, ratio = entry["ms"][row], entry.get(f"vs_{row}")
    load, compiling = entry["load_ms"].get(row), entry["compile_ms"].get(row)
    peak = entry["peak_bytes"].get(row)
    return [
        _number(times["p50"]),
        _number(times["p95"]),
        "-" if ratio is None else f"{ratio:.3f}",
        "-" if load is None else f"{load / 1e3:.1f}",
        "-" if compiling is None else f"{compiling / 1e3:.1f}",
        "-" if peak is None else f"{peak / GIB:.2f}",
    ]


def _decibels(ratio: float | None) -> str:
    return "equal" if ratio is None else f"{ratio:.1f} dB"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
