"""How the plots of the results look: one style, one colour and marker per row, files that are the same each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.atomic import save_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by people who do not see all colours; the markers differ as well.
BLUE, ORANGE, GREEN, VERMILION, GRAY, PALE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555", "#8c8c8c",
)  # fmt: skip
STYLE: dict[Any, Any] = {  # matplotlib types the keys as literals
    "font.family": "DejaVu Sans",  # comes with matplotlib: no font of the machine has a say
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "ragturbo",
}


@dataclass(frozen=True)
class Look:
    """How a row is shown."""

    label: str
    colour: str = PALE
    marker: str = "o"
    hollow: bool = False
    """Chosen among candidates by the score itself: no fair row, and it must not look like one."""


LOOKS = {
    "teacher_50": Look("teacher, 50 steps", GREEN, "D"),
    "lcm_4": Look("consistency model, 4 steps", VERMILION, "v"),
    "rdm_50": Look("RDM, 50 steps", VERMILION, "<"),
    "base_1": Look("base", GRAY, "s"),
    "slerp_fixed_1": Look("direct injection", PALE, "P"),
    "slerp_best_1": Look("direct injection, best of grid", PALE, "P", hollow=True),
    "best_of_seeds_1": Look("base, best of as many seeds", GRAY, "s", hollow=True),
    "lora_only_1": Look("LoRA alone", ORANGE, "^"),
    "adapter_1": Look("adapter (ours)", BLUE, "o"),
    "adapter_wrong_references_1": Look("adapter, wrong references", BLUE, "X"),
    "adapter_no_references_1": Look("adapter, no references", BLUE, "d"),
    "adapter_k1_1": Look("1 reference", BLUE),
    "adapter_k2_1": Look("2 references", BLUE),
    "adapter_k8_1": Look("8 references", BLUE),
    "adapter_lambda_one_1": Look("lambda 1 for all", BLUE),
    "adapter_float32_1": Look("features in float32", BLUE),
    "adapter_float16_1": Look("features in float16", BLUE),
    "adapter_product_1": Look("features in product codes", BLUE),
    "adapter_unpooled_1": Look("features not pooled", BLUE),
    "slerp_mid_input_1": Look("injection before the mid-block", PALE, "P"),
}


def look(name: str) -> Look:
    """How a row is shown; a row without a look of its own is gray under its own name."""
    return LOOKS.get(name, Look(name))


@contextmanager
def new_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure, and save it as SVG when the block ends.

    The file holds no date and no random names: the same numbers give the same bytes.

    Args:
        path: An SVG file.
        width: In inches.
        height: In inches.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        yield figure
        metadata = {"Date": None, "Creator": None}
        save_atomically(path, lambda beside: figure.savefig(beside, format="svg", metadata=metadata))


def points(
    axes: Axes, name: str, at: Sequence[float], intervals: Sequence[Sequence[float]], *, upright: bool,
    label: str | None = None, line: str = "none",
) -> None:  # fmt: skip
    """Draw means with the ends of their intervals.

    Args:
        axes: Where.
        name: The row whose look they have.
        at: (N,) places on the other axis.
        intervals: (N,) [mean, low, high] each.
        upright: Whether scores go upwards; else to the right.
        label: For the legend.
        line: Style of the line through them.
    """
    shown = look(name)
    means = [mean for mean, _, _ in intervals]
    # Rounded to four digits a mean may lie a hair outside its interval.
    ends = [
        [max(mean - low, 0.0) for mean, low, _ in intervals],
        [max(high - mean, 0.0) for mean, _, high in intervals],
    ]
    x, y = (at, means) if upright else (means, at)
    axes.errorbar(
        x, y, yerr=ends if upright else None, xerr=None if upright else ends, fmt=shown.marker, color=shown.colour,
        markerfacecolor="white" if shown.hollow else shown.colour, markersize=5, elinewidth=1.1, capsize=0,
        linestyle=line, linewidth=1, label=label,
    )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until neighbours have a gap, as little as a pass from below allows, centred on where they were.

    Args:
        places: (N,) in any order.
        gap: The least distance, over 0.

    Returns:
        (N,) in the order given.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    clusters: list[list[int]] = []
    for number in order:
        clusters.append([number])
        while len(clusters) > 1 and _top(clusters[-2], places, gap) + gap > _bottom(
            clusters[-1], places, gap
        ):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    for cluster in clusters:
        for step, number in enumerate(cluster):
            moved[number] = _bottom(cluster, places, gap) + step * gap
    return moved


def _bottom(cluster: Sequence[int], places: Sequence[float], gap: float) -> float:
    middle = sum(places[number] for number in cluster) / len(cluster)
    return middle - gap * (len(cluster) - 1) / 2


def _top(cluster: Sequence[int], places: Sequence[float], gap: float) -> float:
    return _bottom(cluster, places, gap) + gap * (len(cluster) - 1)
