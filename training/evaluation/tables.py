"""Tables of the results in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RECALLS = ("common", "rare", "library_only")
ABLATION = (
    "base_1", "slerp_fixed_1", "slerp_best_1", "best_of_seeds_1", "lora_only_1", "adapter_1",
    "adapter_wrong_references_1",
)  # fmt: skip
"""Rows of the third table: all in one step from the same base."""


def score_table(rows: Mapping[str, Any]) -> list[str]:
    """TIFA and recall, row by row."""
    header = ["row", "TIFA", "recall: common", "recall: rare", "recall: library only"]
    body = [
        [f"`{name}`", cell(row["tifa"]), *(cell(row["recall"].get(kind)) for kind in RECALLS)]
        for name, row in rows.items()
    ]
    return table(header, body)


def paired_table(document: Mapping[str, Any]) -> list[str]:
    """What the adapter has over other rows."""
    header = ["difference", "TIFA", "CLIP", "recall: common", "recall: rare", "recall: library only"]
    body = []
    for name, tifa in document["paired"].items():
        recall, clip = document["paired_recall"][name], document["paired_clip"].get(name)
        cells = [cell(recall.get(kind), signed=True) for kind in RECALLS]
        body.append([f"`{name}`", cell(tifa, signed=True), cell(clip, signed=True), *cells])
    return table(header, body)


def fidelity_table(rows: Mapping[str, Any]) -> list[str]:
    """FID, CLIP score and time: the paper's table on COCO."""
    body = [
        [f"`{name}`", number(row.get("fid")), cell(row.get("clip")), number(row.get("ms"))]
        for name, row in rows.items()
    ]
    return table(["row", "FID", "CLIP", "ms"], body)


def type_table(rows: Mapping[str, Any]) -> list[str]:
    """TIFA, and the share of right answers by element type: the paper's table of faithfulness."""
    kinds = sorted({kind for row in rows.values() for kind in row["by_element_type"]})
    body = [
        [f"`{name}`", cell(row["tifa"]), *(cell(row["by_element_type"].get(kind)) for kind in kinds)]
        for name, row in rows.items()
    ]
    return table(["row", "TIFA", *kinds], body)


def ablation_table(rows: Mapping[str, Any]) -> list[str]:
    """What each way to use references gives, and what it costs: the paper's ablation."""
    header = ["row", "TIFA", "recall: rare", "FID", "CLIP", "ms, total", "retrieval", "adapter or injection"]
    body = []
    for name in (name for name in ABLATION if name in rows):
        row = rows[name]
        split = row.get("ms_split", {})
        fused = split.get("adapter", split.get("injection"))
        body.append(
            [f"`{name}`", cell(row["tifa"]), cell(row["recall"].get("rare")), number(row.get("fid")),
             cell(row.get("clip")), number(split.get("total", row.get("ms"))), number(split.get("retrieval")),
             number(fused)]
        )  # fmt: skip
    return table(header, body)


def legend(names: Iterable[str], about: Mapping[str, str]) -> list[str]:
    """What each row is."""
    return table(["row", "what it is"], [[f"`{name}`", about.get(name, "")] for name in names])


def table(header: list[str], body: list[list[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text."""
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]
    rows = [header, ["-" * width for width in widths], *body]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def number(value: float | None) -> str:
    """One digit after the point; a dash for what was not measured."""
    return "-" if value is None else f"{value:.1f}"


def cell(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    """Mean and interval; a dash for what was not measured."""
    if interval is None:
        return "-"
    mean, low, high = (f"{value:+.3f}" if signed else f"{value:.3f}" for value in interval)
    return f"{mean} [{low}, {high}]"
