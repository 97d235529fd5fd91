"""The results: scores of every row, paired differences, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.data.render import draw
from training.data.scene import Scene
from training.data.tifa import Question, questions
from training.evaluation.answers import answer
from training.evaluation.bootstrap import CONFIDENCE, RESAMPLES, paired_difference, ratio_interval
from training.evaluation.judge import THRESHOLD, Judge, Pixels
from training.evaluation.judge_training import format_errors
from training.evaluation.rows import FIRST_SEED, NO_REFERENCES, TEACHER_STEPS
from training.evaluation.scores import RowScores, score_row, tifa_result

DRAWN = "drawn_scenes"
"""A control beside the table: the drawn scenes. What is missing there, the judge lost."""
PAIRS = {
    "adapter_minus_base": "base_1",
    "adapter_minus_lora_only": "lora_only_1",
    "adapter_minus_no_references": NO_REFERENCES,
    "adapter_minus_wrong_references": "adapter_wrong_references_1",
}
"""Paired differences: name -> the row that is taken from adapter_1."""
COMMAND = "make results"


@dataclass(frozen=True)
class Benchmark:
    """Captions with everything that is asked of their pictures."""

    scenes: tuple[Scene, ...]
    questions: tuple[tuple[Question, ...], ...]
    """Per scene."""

    @classmethod
    def of(cls, scenes: Sequence[Scene], names: Sequence[str], *, family: str) -> Benchmark:
        """The benchmark of some scenes; names are the family's concepts."""
        return cls(tuple(scenes), tuple(tuple(questions(scene, names, family=family)) for scene in scenes))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The captions."""
        return tuple(scene.caption for scene in self.scenes)

    def pictures(self, resolution: int) -> Pixels:
        """The scenes as the renderer draws them, (N, H, W, 3) uint8."""
        return np.stack([draw(scene, resolution) for scene in self.scenes])


def measure(judge: Judge, benchmark: Benchmark, pictures: Pixels) -> tuple[RowScores, dict[str, Any]]:
    """Score the pictures of a row.

    Args:
        judge: Reads them.
        benchmark: N captions.
        pictures: (N, H, W, 3) uint8, one per caption.

    Returns:
        The scores, and TIFA's own evaluation result with every answer.

    Raises:
        ValueError: Not one picture per caption.
    """
    readings = judge.read(pictures)
    if len(readings) != len(benchmark.scenes):
        raise ValueError(f"{len(readings)} pictures for {len(benchmark.scenes)} captions")
    answers = [
        [answer(one.question, one.choices, reading) for one in asked]
        for asked, reading in zip(benchmark.questions, readings, strict=True)
    ]
    scores = score_row(benchmark.questions, answers, readings, benchmark.scenes, judge.frequencies)
    flat_questions = [one for asked in benchmark.questions for one in asked]
    return scores, tifa_result(flat_questions, [given for some in answers for given in some])


def make_document(
    rows: Mapping[str, RowScores], controls: Mapping[str, RowScores], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that docs/results.json holds.

    Args:
        rows: Scores by row; adapter_1 must be among them for the paired differences.
        controls: Scores of what stands beside the table.
        protocol: How it was measured.

    Returns:
        ``protocol``, ``rows``, ``paired`` (of TIFA scores, captions paired), ``paired_recall`` (by frequency)
        and ``controls``; every score is [mean, low, high].
    """
    document: dict[str, Any] = {"protocol": dict(protocol)}
    document["rows"] = {name: scores.as_json() for name, scores in rows.items()}
    document["paired"], document["paired_recall"] = {}, {}
    everything = {**rows, **controls}
    for name, other in PAIRS.items():
        if "adapter_1" in rows and other in everything:
            ours, theirs = rows["adapter_1"], everything[other]
            document["paired"][name] = paired_difference(ours.captions, theirs.captions).as_list()
            document["paired_recall"][name] = _paired_recall(ours, theirs)
    document["controls"] = {name: scores.as_json() for name, scores in controls.items()}
    return document


def make_protocol(
    family: str, benchmark: Benchmark, judge: Judge, judge_file: Path, *, guidance_scale: float, through: str
) -> dict[str, Any]:
    """How the scores were measured: enough to measure them again.

    Args:
        family: The family's name.
        benchmark: What was asked.
        judge: Who answered.
        judge_file: Its file; the hash goes into the protocol.
        guidance_scale: Of the teacher.
        through: What drew adapter_1: "ONNX bundle" or "torch".
    """
    return {
        "command": COMMAND,
        "benchmark": f"{family}, benchmark split in TIFA's formats (python -m training.data.tifa)",
        "captions": len(benchmark.scenes),
        "questions": sum(len(asked) for asked in benchmark.questions),
        "score": "TIFA: mean over captions of the share of questions answered right; by_element_type: share "
        "of questions; recall: share of the captions' groups that were found, by frequency in training",
        "vqa": {
            "name": "emoji judge (training/evaluation/judge.py), trained apart from the generator",
            "sha256": hash_file(judge_file),
            "parameters": sum(weight.numel() for weight in judge.network.parameters()),
            "threshold": THRESHOLD,
            "error_rates": judge.errors,
        },
        "noise": f"caption i from seed {FIRST_SEED} + i, the same for every row",
        "teacher": f"{TEACHER_STEPS} DDIM steps, guidance {guidance_scale:g}, float32",
        "adapter": f"through {through}; wrong references: those of another caption, weights unchanged",
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap over captions, {RESAMPLES} resamples; "
        "paired: the same captions and seeds",
    }


def make_page(document: Mapping[str, Any], judge: Judge, sheets: Mapping[str, str]) -> str:
    """Write docs/results.md.

    Args:
        document: As `make_document` made it.
        judge: Its error rates are printed.
        sheets: Title -> file name relative to the page, of pictures to look at.
    """
    protocol = document["protocol"]
    lines = [
        "# Results",
        "",
        f"Written by `{COMMAND}`, never by hand; the numbers are also in [results.json](results.json).",
        f"{protocol['captions']} captions, {protocol['questions']} questions. Scores: mean [low, high].",
        "",
        *_score_table(document["rows"] | document["controls"]),
        "",
        "## Paired differences",
        "",
        *_paired_table(document),
        "",
        "## By element type",
        "",
        *_type_table(document["rows"] | document["controls"]),
        "",
        "## How it was measured",
        "",
        *(f"- {key}: {value}" for key, value in protocol.items() if isinstance(value, str | int)),
        f"- vqa: {protocol['vqa']['name']}; {protocol['vqa']['parameters']:,} parameters",
        "",
        f"`{DRAWN}` are the scenes as the renderer draws them: what is missing there, the judge got wrong.",
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
        *(f"![{title}]({file})" for title, file in sheets.items()),
        "",
    ]
    return "\n".join(lines)


def format_table(document: Mapping[str, Any]) -> str:
    """The table that the command prints."""
    lines = [*_score_table(document["rows"] | document["controls"]), "", *_paired_table(document)]
    return "\n".join(lines)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    save_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def _paired_recall(ours: RowScores, theirs: RowScores) -> dict[str, list[float]]:
    return {
        name: ratio_interval(counts.right - theirs.recall[name].right, counts.asked).as_list()
        for name, counts in ours.recall.items()
        if counts.asked.any()
    }


def _score_table(rows: Mapping[str, Any]) -> list[str]:
    header = ["row", "TIFA", "recall: common", "recall: rare", "recall: library only"]
    body = [
        [
            f"`{name}`",
            _cell(row["tifa"]),
            *(_cell(row["recall"].get(f)) for f in ("common", "rare", "library_only")),
        ]
        for name, row in rows.items()
    ]
    return _table(header, body)


def _paired_table(document: Mapping[str, Any]) -> list[str]:
    header = ["difference", "TIFA", "recall: common", "recall: rare", "recall: library only"]
    body = []
    for name, tifa in document["paired"].items():
        recall = document["paired_recall"][name]
        cells = [_cell(recall.get(f), signed=True) for f in ("common", "rare", "library_only")]
        body.append([f"`{name}`", _cell(tifa, signed=True), *cells])
    return _table(header, body)


def _type_table(rows: Mapping[str, Any]) -> list[str]:
    kinds = sorted({kind for row in rows.values() for kind in row["by_element_type"]})
    body = [
        [f"`{name}`", *(_cell(row["by_element_type"].get(kind)) for kind in kinds)]
        for name, row in rows.items()
    ]
    return _table(["row", *kinds], body)


def _table(header: list[str], body: list[list[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text."""
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]
    rows = [header, ["-" * width for width in widths], *body]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def _cell(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    if interval is None:
        return "-"
    mean, low, high = (f"{value:+.3f}" if signed else f"{value:.3f}" for value in interval)
    return f"{mean} [{low}, {high}]"
