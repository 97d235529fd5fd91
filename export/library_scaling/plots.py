"""Two plots for docs/library.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.evaluation.plotting import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES, RECALL = "size.svg", "recall.svg"
_COLOURS = {50: ORANGE, 100: BLUE, 200: GREEN}
_MARKERS = {50: "^", 100: "o", 200: "s"}
_PROMISED_MS, _PROMISED_RECALL, _PROMISED_MB = 1.0, 0.95, 1000.0


def draw_sizes(path: Path, sizes: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None) -> None:
    """Draw latency and memory against the size.

    Args:
        path: An SVG file.
        sizes: Of docs/library.json, rising.
        model: The same of a library that was not measured; hollow, behind a dashed line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [size["keys"] for size in sizes] + ([] if model is None else [model["keys"]])
    with new_figure(path, 7.0, 3.3) as figure:
        latency, memory = figure.subplots(1, 2)
        for name, label, colour, marker in (
            ("exact_p50_ms", "exact search, p50", GRAY, "s"),
            ("p99_ms", "search, p99", VERMILION, "^"),
            ("p50_ms", "search, p50", BLUE, "o"),
        ):
            _line(latency, sizes, model, name, 1.0, label, colour, marker)
        for name, label, colour, marker in (
            ("disk_bytes", "keys and index on the disk", GREEN, "D"),
            ("rss_bytes", "memory, opened and searched", BLUE, "o"),
        ):
            _line(memory, sizes, model, name, 1e-6, label, colour, marker)
        _finish(latency, shown, "milliseconds", _PROMISED_MS)
        _finish(memory, shown, "megabytes", _PROMISED_MB)


def draw_recall(path: Path, sweep: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Draw recall against latency, a line per number of candidates, a point per number of parts.

    Args:
        path: An SVG file.
        sweep: Of docs/library.json.
        chosen: The numbers of that library as it is opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_figure(path, 5.6, 3.4) as figure:
        axes = figure.add_subplot()
        for candidates, colour in _COLOURS.items():
            points = [point for point in sweep["points"] if point["candidates"] == candidates]
            x, y = ([point[name] for point in points] for name in ("p50_ms", "recall_at_10"))
            label, marker = f"{candidates} candidates", _MARKERS[candidates]
            axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1, label=label)
        x, y = chosen["p50_ms"], chosen["recall_at_10"]
        axes.plot(x, y, "*", color=VERMILION, markersize=11, label="as it is opened")
        stored = "exact search of the int8 keys"
        axes.axhline(sweep["stored_recall"], color="black", linewidth=0.9, linestyle="--", label=stored)
        axes.axhline(_PROMISED_RECALL, color="black", linewidth=0.9, linestyle=":", label="promised")
        axes.set_xscale("log")
        axes.set_xticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
        axes.minorticks_off()
        axes.set_xlabel(f"milliseconds of a search, p50, among {sweep['keys']:,} keys (log scale)")
        axes.set_ylabel("share of the true 10 nearest found")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)


def _line(
    axes: Axes, sizes: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None, name: str, unit: float,
    label: str, colour: str, marker: str,
) -> None:  # fmt: skip
    """Measured points, and the model's behind a dashed line."""
    known = [(size["keys"], size[name] * unit) for size in sizes if size[name] is not None]
    if not known:
        return
    x, y = zip(*known, strict=True)
    axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1, label=label)
    if model is not None and name in model:
        ends = (x[-1], model["keys"]), (y[-1], model[name] * unit)
        axes.plot(*ends, color=colour, linewidth=1, linestyle="--")
        axes.plot(
            model["keys"], model[name] * unit, marker, color=colour, markerfacecolor="white", markersize=5
        )


def _finish(axes: Axes, sizes: Sequence[int], unit: str, promised: float) -> None:
    axes.axhline(promised, color="black", linewidth=0.9, linestyle=":", label="promised at 630,000 keys")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [_short(size) for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("keys (hollow: by the model)")
    axes.set_ylabel(unit)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _short(keys: int) -> str:
    return f"{keys / 1e6:g} M" if keys >= 1_000_000 else f"{keys / 1e3:g} k"
