"""Writes the results as a page to read: tables, plots and sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.judge import Judge
from training.evaluation.judge_training import format_errors
from training.evaluation.rows import CHOSEN, CONTROLS, NO_REFERENCES, ROWS

DRAWN = "drawn_scenes"
"""A control beside the table: the drawn scenes. What is missing there, the judge lost."""
ABOUT = (
    {row.name: row.about for row in (*ROWS.values(), *CONTROLS.values())}
    | CHOSEN
    | {DRAWN: "the drawn scenes"}
)
RECALLS = ("common", "rare", "library_only")


def make_page(document: Mapping[str, Any], judge: Judge, pictures: Mapping[str, str]) -> str:
    """Write docs/results.md.

    Args:
        document: As `results.make_document` made it.
        judge: Its error rates are printed.
        pictures: Title -> file name relative to the page, of plots and sheets to look at.
    """
    protocol, everything = document["protocol"], document["rows"] | document["controls"]
    lines = [
        "# Results",
        "",
        f"Written by `{protocol['command']}`, never by hand; the numbers are also in [results.json](results.json).",
        f"{protocol['captions']} captions, {protocol['questions']} questions. Scores: mean [low, high].",
        "",
        *_legend(everything),
        "",
        "## Fidelity and speed",
        "",
        "FID (lower is better) and CLIP score by a CLIP that no generator saw; ms for one picture in torch, without",
        "retrieval's search, on the machine that ran this: compare rows.",
        "",
        *_fidelity_table(document["rows"]),
        "",
        "## Faithfulness to the prompt",
        "",
        *score_table(everything),
        "",
        "## Paired differences",
        "",
        *paired_table(document),
        "",
        "## By element type",
        "",
        *_type_table(everything),
        "",
        "## How it was measured",
        "",
        *(f"- {key}: {value}" for key, value in protocol.items() if isinstance(value, str | int)),
        f"- vqa: {protocol['vqa']['name']}; {protocol['vqa']['parameters']:,} parameters",
        "",
        f"What `{DRAWN}` lacks, the judge got wrong.",
        f"`{NO_REFERENCES}` is the adapter's bundle with retrieval off. Absolute scores depend on the judge;",
        "the differences between rows are what counts. The judge's own errors, on held-out scenes of which",
        "everything is known (`other_picture`: asked about another scene's picture, where it must fail):",
        "",
        "```",
        format_errors(judge.errors),
        "```",
        "",
        "## To look at",
        "",
        "Not hand-picked: the benchmark's first captions, and the first with a rare or library-only concept.",
        "",
        *(f"![{title}]({file})" for title, file in pictures.items()),
        "",
    ]
    return "\n".join(lines)


def format_table(document: Mapping[str, Any]) -> str:
    """The table that the command prints."""
    lines = [*score_table(document["rows"] | document["controls"]), "", *paired_table(document)]
    return "\n".join(lines)


def score_table(rows: Mapping[str, Any]) -> list[str]:
    """TIFA and recall, row by row."""
    header = ["row", "TIFA", "recall: common", "recall: rare", "recall: library only"]
    body = [
        [f"`{name}`", _cell(row["tifa"]), *(_cell(row["recall"].get(kind)) for kind in RECALLS)]
        for name, row in rows.items()
    ]
    return table(header, body)


def paired_table(document: Mapping[str, Any]) -> list[str]:
    """What the adapter has over other rows."""
    header = ["difference", "TIFA", "CLIP", "recall: common", "recall: rare", "recall: library only"]
    body = []
    for name, tifa in document["paired"].items():
        recall, clip = document["paired_recall"][name], document["paired_clip"].get(name)
        cells = [_cell(recall.get(kind), signed=True) for kind in RECALLS]
        body.append([f"`{name}`", _cell(tifa, signed=True), _cell(clip, signed=True), *cells])
    return table(header, body)


def _legend(rows: Mapping[str, Any]) -> list[str]:
    return table(["row", "what it is"], [[f"`{name}`", ABOUT.get(name, "")] for name in rows])


def _fidelity_table(rows: Mapping[str, Any]) -> list[str]:
    body = [
        [f"`{name}`", _number(row.get("fid")), _cell(row.get("clip")), _number(row.get("ms"))]
        for name, row in rows.items()
    ]
    return table(["row", "FID", "CLIP", "ms"], body)


def _type_table(rows: Mapping[str, Any]) -> list[str]:
    kinds = sorted({kind for row in rows.values() for kind in row["by_element_type"]})
    body = [
        [f"`{name}`", *(_cell(row["by_element_type"].get(kind)) for kind in kinds)]
        for name, row in rows.items()
    ]
    return table(["row", *kinds], body)


def table(header: list[str], body: list[list[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text."""
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]
    rows = [header, ["-" * width for width in widths], *body]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _cell(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    if interval is None:
        return "-"
    mean, low, high = (f"{value:+.3f}" if signed else f"{value:.3f}" for value in interval)
    return f"{mean} [{low}, {high}]"
