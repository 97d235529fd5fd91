"""The results: scores of every row, paired differences, and the document that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.data.render import Pixels, draw
from training.data.scene import Scene
from training.data.tifa import Question, questions
from training.evaluation.answers import answer
from training.evaluation.artists import FIRST_SEED, LCM_STEPS, TEACHER_STEPS
from training.evaluation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    FloatArray,
    mean_interval,
    paired_difference,
    ratio_interval,
)
from training.evaluation.judge import THRESHOLD, Judge
from training.evaluation.rows import NO_REFERENCES
from training.evaluation.scores import RowScores, score_row, tifa_result
from training.evaluation.times import add_derived_times

PAIRS = {
    "adapter_minus_base": ("adapter_1", "base_1"),
    "adapter_minus_lora_only": ("adapter_1", "lora_only_1"),
    "adapter_minus_no_references": ("adapter_1", NO_REFERENCES),
    "adapter_minus_wrong_references": ("adapter_1", "adapter_wrong_references_1"),
    "adapter_minus_slerp_fixed": ("adapter_1", "slerp_fixed_1"),
    "adapter_minus_slerp_best": ("adapter_1", "slerp_best_1"),
    "adapter_minus_best_of_seeds": ("adapter_1", "best_of_seeds_1"),
    "adapter_minus_lcm": ("adapter_1", "lcm_4"),
    "adapter_minus_rdm": ("adapter_1", "rdm_50"),
    "adapter_minus_teacher": ("adapter_1", "teacher_50"),
    "wrong_references_minus_base": ("adapter_wrong_references_1", "base_1"),
}
"""Paired differences: name -> the row, and the row that is taken from it."""
_PUBLISHED = Path("docs")


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


@dataclass(frozen=True)
class Measured:
    """All that is known of a row."""

    scores: RowScores
    clip: FloatArray | None = None
    """(N,) cosine of each caption with its picture."""
    fid: float | None = None
    ms: float | None = None
    split: Mapping[str, float] | None = None
    """Where the time goes, as `latency_parts.split_of` gives it."""
    candidates: int | None = None
    """How many pictures each of its own was chosen among."""

    def as_json(self) -> dict[str, Any]:
        """What docs/results.json holds of it."""
        document = self.scores.as_json()
        if self.clip is not None:
            document["clip"] = mean_interval(self.clip).as_list()
        plain = {"fid": self.fid, "ms": self.ms}
        document |= {name: round(value, 2) for name, value in plain.items() if value is not None}
        if self.candidates is not None:
            document["candidates"] = self.candidates
        return document | ({"ms_split": dict(self.split)} if self.split is not None else {})


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


def best_of(candidates: Sequence[Pixels], scores: Sequence[RowScores]) -> Pixels:
    """Take, caption by caption, the picture with the best score; the first of equals.

    Args:
        candidates: (N, H, W, 3) uint8 each.
        scores: One per candidate.

    Returns:
        (N, H, W, 3) uint8.
    """
    best = np.stack([one.captions for one in scores]).argmax(axis=0)
    return np.stack([candidates[which][place] for place, which in enumerate(best.tolist())])


def make_document(
    rows: Mapping[str, Measured], controls: Mapping[str, Measured], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that docs/results.json holds.

    Args:
        rows: What is known by row; both rows of a paired difference must be there, or it is left out.
        controls: The same of what stands beside the table.
        protocol: How it was measured.

    Returns:
        ``protocol``, ``rows``, ``paired`` (of TIFA scores, captions paired), ``paired_clip``, ``paired_recall`` (by
        frequency) and ``controls``; every score is [mean, low, high]. What was not timed and follows has its time.
    """
    document: dict[str, Any] = {"protocol": dict(protocol)}
    document["rows"] = {name: one.as_json() for name, one in rows.items()}
    document |= {"paired": {}, "paired_clip": {}, "paired_recall": {}}
    everything = {**rows, **controls}
    for name, (one, other) in PAIRS.items():
        if one not in everything or other not in everything:
            continue
        ours, theirs = everything[one], everything[other]
        document["paired"][name] = paired_difference(ours.scores.captions, theirs.scores.captions).as_list()
        document["paired_recall"][name] = _paired_recall(ours.scores, theirs.scores)
        if ours.clip is not None and theirs.clip is not None:
            document["paired_clip"][name] = paired_difference(ours.clip, theirs.clip).as_list()
    document["controls"] = {name: one.as_json() for name, one in controls.items()}
    add_derived_times(document)
    return document


def command_of(out: Path) -> str:
    """Return what writes the results in a folder: those of the family that ships have a command of their own."""
    return "make results" if out == _PUBLISHED else f"python -m training.evaluation ... --out {out}"


def make_protocol(
    family: str,
    benchmark: Benchmark,
    judge: Judge,
    judge_file: Path,
    out: Path,
    *,
    guidance_scale: float,
    through: str,
) -> dict[str, Any]:
    """How the scores were measured: enough to measure them again.

    Args:
        family: The family's name.
        benchmark: What was asked.
        judge: Who answered.
        judge_file: Its file; the hash goes into the protocol.
        out: Where the results are written.
        guidance_scale: Of the teacher.
        through: What drew adapter_1: "ONNX bundle" or "torch".
    """
    return {
        "command": command_of(out),
        "benchmark": f"{family}, benchmark split in TIFA's formats (python -m training.data.tifa)",
        "captions": len(benchmark.scenes),
        "questions": sum(len(asked) for asked in benchmark.questions),
        "score": "TIFA: mean over captions of the share of questions answered right; by_element_type: share "
        "of questions; recall: share of the captions' groups that were found, by frequency in training; "
        "by_frequency: TIFA of the captions whose rarest thing has that frequency",
        "fid": "times 100, over L2-normalised embeddings of the metric CLIP, against the drawn scenes of the captions",
        "vqa": {
            "name": "emoji judge (training/evaluation/judge.py), trained apart from the generator",
            "sha256": hash_file(judge_file),
            "parameters": sum(weight.numel() for weight in judge.network.parameters()),
            "threshold": THRESHOLD,
            "error_rates": judge.errors,
        },
        "noise": f"caption i from seed {FIRST_SEED} + i, the same for every row",
        "teacher": f"{TEACHER_STEPS} DDIM steps, guidance {guidance_scale:g}, float32; lcm_4: {LCM_STEPS} steps of "
        "diffusers' LCMScheduler, without guidance",
        "adapter": f"through {through}; the other adapter rows in torch; wrong references: those of another caption, "
        "weights unchanged",
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap over captions, {RESAMPLES} resamples; "
        "paired: the same captions and seeds",
    }


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
