"""The page of side-by-side pictures, chosen by a fixed rule: where retrieval helped most, hurt most, and in between.

The rule: sort the benchmark's captions by the questions answered right with retrieval minus those answered right
without, equal ones by their place in the benchmark. Take the twelve largest, the twelve smallest, and twelve at equal
distances through the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.render import Pixels
from training.evaluation.publish import GRIDS, PICTURES
from training.evaluation.results import Benchmark, command_of, write_text
from training.evaluation.rows import NO_REFERENCES
from training.evaluation.strip import Shown, save_strip

PER_GRID = 12
WITHOUT, WITH = "base_1", "adapter_1"
LABELS = {WITHOUT: "no retrieval (base)", NO_REFERENCES: "adapter, no references", WITH: "adapter, retrieval"}
"""Rows that are shown, with their labels, from left to right."""
TITLES = {
    "largest": "Where retrieval helped most",
    "smallest": "Where retrieval hurt most",
    "spaced": "At equal distances through the benchmark",
}
FOLDER = "grids"

Details = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Caption's id -> question -> the answer that was given, as `scores.tifa_result` logs it."""


@dataclass(frozen=True)
class Material:
    """All that the page is made of."""

    benchmark: Benchmark
    pictures: Mapping[str, Pixels]
    """By row of `LABELS`, (N, H, W, 3) uint8."""
    details: Mapping[str, Details]
    """By row of `LABELS`."""
    references: Callable[[Sequence[int]], list[list[Shown]]]
    """What captions, by index, had looked up."""

    def asked(self, index: int, row: str) -> Mapping[str, Mapping[str, Any]]:
        """The questions about a caption's picture with the answers given."""
        return self.details[row][self.benchmark.questions[index][0].id]

    def right(self, index: int, row: str) -> int:
        """How many of them were answered right; one that is asked twice counts once."""
        return sum(one["scores"] for one in self.asked(index, row).values())

    def gains(self) -> list[int]:
        """Caption by caption, the questions that retrieval got right minus those without it."""
        return [
            self.right(index, WITH) - self.right(index, WITHOUT)
            for index in range(len(self.benchmark.scenes))
        ]


def choose_grids(gains: Sequence[int], count: int = PER_GRID) -> dict[str, list[int]]:
    """Choose captions by the rule.

    Args:
        gains: (N,) questions right with retrieval minus without.
        count: Captions per grid; fewer where there are not so many.

    Returns:
        ``largest``, ``smallest`` and ``spaced``: indices of captions. One may be in several.
    """
    everything = range(len(gains))
    return {
        "largest": sorted(everything, key=lambda index: (-gains[index], index))[:count],
        "smallest": sorted(everything, key=lambda index: (gains[index], index))[:count],
        "spaced": sorted({place * len(gains) // count for place in range(count)} & set(everything)),
    }


def write_grids(material: Material, out: Path) -> None:
    """Draw the strips and write the page.

    Args:
        material: Pictures, answers and references.
        out: The folder of documentation; strips go into ``results/grids``.
    """
    gains = material.gains()
    grids = choose_grids(gains)
    lines = [*_head(gains, command_of(out)), ""]
    for name, indices in grids.items():
        lines += [f"## {TITLES[name]}", ""]
        for number, (index, shown) in enumerate(
            zip(indices, material.references(indices), strict=True), start=1
        ):
            file = f"{PICTURES}/{FOLDER}/{name}_{number:02d}.png"
            save_strip(out / file, {LABELS[row]: material.pictures[row][index] for row in LABELS}, shown)
            lines += [*_entry(material, index, number, file, gains[index]), ""]
        for number in range(len(indices) + 1, PER_GRID + 1):  # of an earlier, longer run
            (out / PICTURES / FOLDER / f"{name}_{number:02d}.png").unlink(missing_ok=True)
    write_text(out / GRIDS, "\n".join(lines))


def _head(gains: Sequence[int], command: str) -> list[str]:
    signs = np.sign(gains)
    more, same, fewer = (int((signs == sign).sum()) for sign in (1, 0, -1))
    return [
        "# Side by side",
        "",
        f"Written by `{command}`, never by hand; the scores are in [results.md](results.md).",
        "",
        "**The rule.** For each caption of the benchmark, count the questions answered right about the adapter's",
        f"picture with retrieval (`{WITH}`) and about the one-step base's picture from the same noise (`{WITHOUT}`).",
        f"Sort the captions by the difference, equal ones by their place. Shown are the {PER_GRID} largest, the",
        f"{PER_GRID} smallest, and {PER_GRID} at equal distances through the benchmark, whatever became of them.",
        "",
        f"Of {len(gains)} captions, retrieval has more questions right in {more}, as many in {same}, fewer in {fewer}.",
        "",
        "Each strip: the base, the adapter with retrieval off, the adapter with retrieval, and the references in the",
        "order they were looked up, with caption and weight lambda. The answers are the judge's, who errs too.",
    ]


def _entry(material: Material, index: int, number: int, file: str, gain: int) -> list[str]:
    caption = material.benchmark.scenes[index].caption
    asked = len(material.asked(index, WITH))
    right = "; ".join(f"{label} {material.right(index, row)}" for row, label in LABELS.items())
    return [
        f"### {number}. {caption}",
        "",
        f"![base, adapter without references, adapter, and the references]({file})",
        "",
        f"Caption {index}. Right of {asked} questions: {right}. Difference {gain:+d}.",
        "",
        *(f"- {label}, wrong: {_wrong(material, index, row)}" for row, label in LABELS.items()),
    ]


def _wrong(material: Material, index: int, row: str) -> str:
    """The questions that were answered wrong, each with the answer given and the right one."""
    wrong = [
        f"{question} *{one['multiple_choice_vqa']}*, not *{one['answer']}*"
        for question, one in material.asked(index, row).items()
        if not one["scores"]
    ]
    return "; ".join(wrong) or "none"
