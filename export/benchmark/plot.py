"""The plot of one device and family: a bar per row, ours split by graph, and the floor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.benchmark.job import LABELS, OURS, OURS_OFF
from training.evaluation.plotting import BLUE, GRAY, GREEN, ORANGE, PALE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "text_encoder": ORANGE,
    "unet_encoder": BLUE,
    "adapter": VERMILION,
    "unet_decoder": "#56B4E9",
    "vae_decoder": GREEN,
}
"""Of the graphs; what is left of a bar is what the chain itself takes."""
_REST, _FLOOR = "the rest", "floor"


def file_name(device: str, family: str) -> str:
    """Of the plot, for example ``cpu-amd-epyc-2-cores-sd-turbo.svg``."""
    return re.sub(r"[^a-z0-9]+", "-", f"{device} {family}".lower()).strip("-") + ".svg"


def draw_plot(entry: Mapping[str, Any], path: Path) -> None:
    """Draw one entry of docs/performance.json.

    Args:
        entry: Of one device and family.
        path: An SVG file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in LABELS if row in entry["ms"]]
    with new_figure(path, 7.0, 1.3 + 0.32 * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            p50, p95 = entry["ms"][row]["p50"], entry["ms"][row]["p95"]
            stages = entry["per_graph_ms"].get(row, {}) if row in (OURS, OURS_OFF) else {}
            _bar(axes, place, p50, stages)
            axes.plot([p50, p95], [place, place], color="black", linewidth=0.9)
            axes.annotate(
                f"{p50:,.4g}", (max(p50, p95), place), (4, 0), textcoords="offset points", va="center"
            )
        axes.axvline(entry["floor_ms"], color="black", linewidth=0.9, linestyle="--", label=_FLOOR)
        axes.set_yticks(range(len(rows)), [LABELS[row] for row in reversed(rows)])
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        axes.set_xlim(left=0)
        axes.set_xlabel("milliseconds for one picture: median, and a line to the 95th percentile")
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True))
        shown = [label for label in (*map(_words, COLOURS), _REST, _FLOOR) if label in found]
        figure.legend([found[label] for label in shown], shown, loc="outside upper center", ncols=4)


def _bar(axes: Axes, place: int, total: float, stages: Mapping[str, float]) -> None:
    """One bar; graphs that ran beside others may add up to more than the whole, and are cut there."""
    left = 0.0
    for graph, colour in COLOURS.items():
        width = min(stages.get(graph, 0.0), total - left)
        if width > 0:
            axes.barh(place, width, 0.62, left=left, color=colour, label=_words(graph))
            left += width
    if total > left:
        colour, label = (GRAY, _REST) if stages else (PALE, None)
        axes.barh(place, total - left, 0.62, left=left, color=colour, label=label)


def _words(graph: str) -> str:
    return graph.replace("_", " ")
