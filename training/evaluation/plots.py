"""The plots of the results, each for one question, drawn from docs/results.json alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.tifa import ELEMENT_TYPES
from training.evaluation.plotting import BLUE, GREEN, look, new_figure, points, spread
from training.evaluation.tables import RECALLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]

COMPARED = ("teacher_50", "base_1", "lora_only_1", "adapter_1")
"""What is shown by element type and by frequency."""
CHANGES = (
    "adapter_1", "adapter_k1_1", "adapter_k2_1", "adapter_k8_1", "adapter_lambda_one_1", "adapter_float32_1",
    "adapter_float16_1", "adapter_product_1", "adapter_unpooled_1", "adapter_no_references_1",
    "adapter_wrong_references_1", "slerp_fixed_1", "slerp_mid_input_1",
)  # fmt: skip
"""The adapter with one thing changed, then injection at both taps."""
_GAINS = {"adapter_minus_base": "base_1", "adapter_minus_lora_only": "lora_only_1"}
_KNEE = 10.0  # training pictures: below, the axis goes over from a logarithm to a straight line, so that 0 has a place


def draw_plots(document: Document, folder: Path) -> dict[str, str]:
    """Draw every plot that the numbers allow.

    Args:
        document: What results.json holds.
        folder: Where the SVG files go.

    Returns:
        Name -> file in the folder. A plot whose rows were not measured is left out, and an old file of it removed.
    """
    drawn = {}
    for name, (needs, draw) in PLOTS.items():
        path = folder / f"{name}.svg"
        if needs(document):
            draw(document, path)
            drawn[name] = path.name
        else:
            path.unlink(missing_ok=True)
    return drawn


def draw_tifa(document: Document, path: Path) -> None:
    """How faithful is each row?"""
    rows = document["rows"]
    with new_figure(path, 6.6, 0.8 + 0.24 * len(rows)) as figure:
        axes = figure.add_subplot()
        names = list(reversed(rows))
        for place, name in enumerate(names):
            points(axes, name, [place], [rows[name]["tifa"]], upright=False)
        if "teacher_50" in rows:
            axes.axvline(rows["teacher_50"]["tifa"][0], color=GREEN, linewidth=0.9, linestyle="--", zorder=0)
        _name_rows(axes, names)
        axes.set_xlabel("TIFA, with 95 % interval; hollow: chosen among candidates by the score itself")


def draw_speed(document: Document, path: Path) -> None:
    """What does quality cost?"""
    rows = {name: row for name, row in document["rows"].items() if _milliseconds(row)}
    times = {name: _milliseconds(row) for name, row in rows.items()}
    fastest, slowest = min(times.values()), max(times.values())
    with new_figure(path, 6.6, 3.4) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(
            fastest / 9, slowest * 1.6
        )  # on the left there is room for the labels of the one-step rows
        for name, row in rows.items():
            points(axes, name, [times[name]], [row["tifa"]], upright=True)
        low, high = axes.get_ylim()
        for names in _alike(times):
            places = spread([rows[name]["tifa"][0] for name in names], 0.07 * (high - low))
            left = fastest in map(times.get, names) or slowest in map(times.get, names)
            ends = [times[name] for name in names]
            edge = min(ends) / 1.25 if left else max(ends) * 1.25
            for name, place in zip(names, places, strict=True):
                _annotate(axes, name, (times[name], rows[name]["tifa"][0]), (edge, place), left=left)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("milliseconds for one picture, in torch, with the search")
        axes.set_ylabel("TIFA, with 95 % interval")


def _alike(times: Mapping[str, float]) -> list[list[str]]:
    """Rows in the order of their times, those that take about as long together: their labels share a column."""
    groups: list[list[str]] = []
    for name in sorted(times, key=lambda name: times[name]):
        if groups and times[name] < 1.5 * times[groups[-1][-1]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _annotate(
    axes: Axes, name: str, at: tuple[float, float], text_at: tuple[float, float], *, left: bool
) -> None:
    ours = name == "adapter_1"
    axes.annotate(
        look(name).label, at, text_at, ha="right" if left else "left", va="center",
        color=BLUE if ours else "black", fontweight="bold" if ours else "normal",
        arrowprops={"arrowstyle": "-", "color": "#b0b0b0", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4},
    )  # fmt: skip


def draw_frequency(document: Document, path: Path) -> None:
    """Where do references help: at what training showed seldom, or never?"""
    concepts = document["by_concept"]
    shown = {kind: _mean([one["training_pictures"] for one in concepts.values() if one["frequency"] == kind])
             for kind in RECALLS if any(one["frequency"] == kind for one in concepts.values())}  # fmt: skip
    with new_figure(path, 7.4, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        names = [name for name in COMPARED[1:] if name in document["rows"]]
        for step, name in enumerate(names):
            aside = 0.06 * (step - (len(names) - 1) / 2)
            _scatter(left, name, concepts, aside)
            recall = document["rows"][name]["recall"]
            kinds = [kind for kind in shown if kind in recall]
            at = [_place(shown[kind]) + aside for kind in kinds]
            points(
                left,
                name,
                at,
                [recall[kind] for kind in kinds],
                upright=True,
                label=look(name).label,
                line="-",
            )
        left.set_ylabel("recall; small points: one concept each")
        left.legend(loc="upper left")
        right.axhline(0, color="black", linewidth=0.8)
        for step, (pair, name) in enumerate(_GAINS.items()):
            gains = document["paired_recall"].get(pair, {})
            kinds = [kind for kind in shown if kind in gains]
            at = [_place(shown[kind]) + 0.04 * (step - 0.5) for kind in kinds]
            label = f"over {look(name).label}"
            points(right, name, at, [gains[kind] for kind in kinds], upright=True, label=label, line="-")
        right.set_ylabel("what the adapter adds to recall")
        right.legend(loc="best")
        for axes in (left, right):
            _frequency_axis(axes, max(shown.values()))


def draw_element_types(document: Document, path: Path) -> None:
    """Which kinds of question does each row answer?"""
    rows = {name: document["rows"][name] for name in COMPARED if name in document["rows"]}
    kinds = [kind for kind in ELEMENT_TYPES if all(kind in row["by_element_type"] for row in rows.values())]
    with new_figure(path, 7.4, 3.2) as figure:
        axes = figure.add_subplot()
        for step, (name, row) in enumerate(rows.items()):
            at = [place + 0.16 * (step - (len(rows) - 1) / 2) for place in range(len(kinds))]
            scores = [row["by_element_type"][kind] for kind in kinds]
            points(axes, name, at, scores, upright=True, label=look(name).label)
        axes.set_xticks(range(len(kinds)), kinds)
        axes.grid(visible=False, axis="x")
        axes.set_ylim(0, 1.03)
        axes.set_ylabel("share of right answers")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(rows))


def draw_controls(document: Document, path: Path) -> None:
    """What of the adapter matters?"""
    everything = {**document["rows"], **document["controls"]}
    names = [name for name in reversed(CHANGES) if name in everything]
    with new_figure(path, 7.4, 0.8 + 0.24 * len(names)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        tifa = {name: row["tifa"] for name, row in everything.items()}
        rare = {name: row["recall"]["rare"] for name, row in everything.items() if "rare" in row["recall"]}
        for axes, title, scores in ((left, "TIFA", tifa), (right, "recall of rare concepts", rare)):
            for place, name in enumerate(names):
                if name in scores:
                    points(axes, name, [place], [scores[name]], upright=False)
            if "adapter_1" in scores:
                axes.axvline(scores["adapter_1"][0], color=BLUE, linewidth=0.9, linestyle="--", zorder=0)
            axes.set_xlabel(f"{title}, with 95 % interval")
        _name_rows(left, names)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [look(name).label for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        if name == "adapter_1":
            label.set(color=BLUE, fontweight="bold")


def _scatter(axes: Axes, name: str, concepts: Document, aside: float) -> None:
    """Every concept as a small point, those of one frequency side by side in the order of their names."""
    for kind in RECALLS:
        some = [one for one in concepts.values() if one["frequency"] == kind and name in one["recall"]]
        steps = [0.045 * ((number * 7 % len(some)) / len(some) - 0.5) for number in range(len(some))]
        at = [_place(one["training_pictures"]) + aside + step for one, step in zip(some, steps, strict=True)]
        recalls = [one["recall"][name] for one in some]
        shown = look(name)
        axes.scatter(at, recalls, s=6, color=shown.colour, marker=shown.marker, alpha=0.3, linewidths=0)


def _place(pictures: float) -> float:
    return math.log10(1 + pictures / _KNEE)


def _frequency_axis(axes: Axes, largest: float) -> None:
    ticks = [0, *(10**power for power in range(1, 9) if 10**power <= 2 * largest)]
    axes.set_xticks([_place(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    axes.set_xlim(-0.25, _place(largest) + 0.25)
    axes.set_xlabel("training pictures that show the concept")


def _milliseconds(row: Document) -> float:
    return float(row.get("ms_split", {}).get("total", row.get("ms", 0.0)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


Needs = Callable[[Document], bool]
PLOTS: dict[str, tuple[Needs, Callable[[Document, Path], None]]] = {
    "speed": (lambda document: any(_milliseconds(row) for row in document["rows"].values()), draw_speed),
    "tifa": (lambda document: bool(document["rows"]), draw_tifa),
    "element_types": (lambda document: "adapter_1" in document["rows"], draw_element_types),
    "frequency": (lambda document: bool(document.get("by_concept")), draw_frequency),
    "controls": (
        lambda document: "adapter_1" in document["rows"] and bool(document["controls"]),
        draw_controls,
    ),
}
"""Name -> what a document must hold, and who draws it."""
