"""Scores of one row: TIFA's own numbers, and recall of objects by how often training showed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from training.data.scene import Scene
from training.data.tifa import Question, question_row
from training.data.world import Frequency
from training.evaluation.bootstrap import FloatArray, Interval, mean_interval, ratio_interval
from training.evaluation.reading import Reading

FREQUENCIES: tuple[Frequency, ...] = ("common", "rare", "library_only")


@dataclass(frozen=True)
class Counts:
    """How many of how many, caption by caption."""

    right: FloatArray
    """(N,) float64: answered right, or found."""
    asked: FloatArray
    """(N,) float64: asked at all; 0 where a caption has nothing of this kind."""

    def interval(self) -> Interval | None:
        """The share over all captions with its interval; None where nothing was asked."""
        return ratio_interval(self.right, self.asked) if self.asked.any() else None


@dataclass(frozen=True)
class RowScores:
    """Everything that is scored about the pictures of one row. Arrays follow the captions' order."""

    captions: FloatArray
    """(N,) per caption, the share of its questions that were answered right."""
    by_element_type: dict[str, Counts]
    """Element type -> questions."""
    recall: dict[str, Counts]
    """Training frequency -> groups of the captions whose concept was found at least once."""
    by_frequency: dict[str, Counts]
    """Training frequency of a caption's rarest thing -> the captions' scores."""
    by_concept: dict[str, Counts]
    """Concept -> groups of the captions that were found at least once."""

    def as_json(self) -> dict[str, Any]:
        """What docs/results.json holds about a row: [mean, low, high] each."""
        return {
            "tifa": mean_interval(self.captions).as_list(),
            "by_element_type": _as_lists(self.by_element_type),
            "by_frequency": _as_lists(self.by_frequency),
            "recall": _as_lists(self.recall),
        }


def tifa_result(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """Score answers as TIFA does, in the shape of its evaluation results.

    Per caption the mean over its questions, then the mean of those (macro) and their sample deviation; per
    element type the mean over questions (micro). A question that a caption has twice counts twice and is
    logged once.

    Args:
        questions: Question-answer pairs, ours or TIFA's.
        answers: The answer given to each, one of its choices.

    Returns:
        ``tifa_average``, ``tifa_stdev`` (0 for a single caption), ``accuracy_by_type``, ``question_details``,
        ``caption_scores``.

    Raises:
        ValueError: No questions, or not one answer per question.
    """
    if not questions or len(questions) != len(answers):
        raise ValueError(
            f"{len(questions)} questions and {len(answers)} answers: one answer per question is needed"
        )
    by_caption: dict[str, list[int]] = {}
    by_type: dict[str, list[int]] = {}
    details: dict[str, dict[str, Any]] = {}
    for question, given in zip(questions, answers, strict=True):
        score = int(given == question.answer)
        by_caption.setdefault(question.id, []).append(score)
        by_type.setdefault(question.element_type, []).append(score)
        logged = details.setdefault(question.id, {}).setdefault(question.question, question_row(question))
        logged |= {"free_form_vqa": given, "multiple_choice_vqa": given, "scores": score}
    captions = {caption: mean(scores) for caption, scores in by_caption.items()}
    return {
        "tifa_average": mean(captions.values()),
        "tifa_stdev": stdev(captions.values()) if len(captions) > 1 else 0.0,
        "accuracy_by_type": {kind: mean(scores) for kind, scores in by_type.items()},
        "question_details": details,
        "caption_scores": captions,
    }


def score_row(
    questions: Sequence[Sequence[Question]],
    answers: Sequence[Sequence[str]],
    readings: Sequence[Reading],
    scenes: Sequence[Scene],
    frequencies: Mapping[str, Frequency],
) -> RowScores:
    """Score the pictures of a row.

    Args:
        questions: Per caption, its questions; at least one.
        answers: Per caption, the answers given about its picture.
        readings: Per caption, what was found in its picture.
        scenes: The captions' scenes.
        frequencies: Concept -> how often training showed it.

    Raises:
        ValueError: The four differ in length, or a caption has no questions.
    """
    right = [
        [given == one.answer for one, given in zip(*pair, strict=True)]
        for pair in zip(questions, answers, strict=True)
    ]
    if not all(right):
        raise ValueError("a caption has no questions: it cannot be scored")
    kinds = [[one.element_type for one in asked] for asked in questions]
    concepts = [scene.concepts for scene in scenes]
    found = [
        [bool(reading.of(concept)) for concept in some]
        for reading, some in zip(readings, concepts, strict=True)
    ]
    frequency = [[frequencies[concept] for concept in some] for some in concepts]
    captions = np.array([mean(scores) for scores in right], dtype=np.float64)
    return RowScores(
        captions=captions,
        by_element_type=_count(right, kinds, sorted({kind for some in kinds for kind in some})),
        recall=_count(found, frequency, FREQUENCIES),
        by_frequency=_by_rarest(captions, frequency),
        by_concept=_count(found, concepts, sorted({concept for some in concepts for concept in some})),
    )


def _by_rarest(captions: FloatArray, frequency: Sequence[Sequence[Frequency]]) -> dict[str, Counts]:
    rarest = [max(some, key=FREQUENCIES.index) for some in frequency]
    counts: dict[str, Counts] = {}
    for name in FREQUENCIES:
        asked = np.array([one == name for one in rarest], dtype=np.float64)
        counts[name] = Counts(captions * asked, asked)
    return counts


def _count(
    hits: Sequence[Sequence[bool]], kinds: Sequence[Sequence[str]], names: Sequence[str]
) -> dict[str, Counts]:
    counts = {}
    for name in names:
        of_kind = [
            [hit for hit, kind in zip(*pair, strict=True) if kind == name]
            for pair in zip(hits, kinds, strict=True)
        ]
        right = np.array([sum(some) for some in of_kind], dtype=np.float64)
        counts[name] = Counts(right, np.array([len(some) for some in of_kind], dtype=np.float64))
    return counts


def _as_lists(counts: Mapping[str, Counts]) -> dict[str, list[float]]:
    intervals = {name: some.interval() for name, some in counts.items()}
    return {name: interval.as_list() for name, interval in intervals.items() if interval is not None}
