"""Scores of every row with bootstrap intervals, and paired differences between the first row and the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training.atomic import save_atomically
from training.benchmarks.prompts import Prompt
from training.evaluation.bootstrap import CONFIDENCE, RESAMPLES, FloatArray, ratio_interval
from training.evaluation.scores import Counts

BOOTSTRAP = f"percentile, {RESAMPLES} resamplings of prompts, {CONFIDENCE:.0%}"


@dataclass(frozen=True)
class RowScores:
    """The scores of one row. Arrays follow the prompts' order."""

    overall: Counts
    """The benchmark's own number: one value per prompt."""
    groups: Mapping[str, Mapping[str, Counts]] = field(default_factory=dict)
    """For example ``by_category`` -> ``Animals`` -> counts."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What has no value per prompt, and so no interval, for example ``fid``."""


def grouped(prompts: Sequence[Prompt], values: FloatArray) -> dict[str, dict[str, Counts]]:
    """Means over the prompts of each group: ``by_source``, ``by_category``, ...

    Args:
        prompts: N of them.
        values: (N,) one value each.
    """
    kinds = sorted({kind for one in prompts for kind in one.groups})
    return {f"by_{kind}": _of_kind(kind, prompts, values) for kind in kinds}


def score_document(metric: str, rows: Mapping[str, RowScores]) -> dict[str, Any]:
    """Rows and paired differences as JSON values.

    Args:
        metric: What the overall number is called.
        rows: Of the same prompts in the same order; differences are the first row minus each other.

    Returns:
        ``rows`` and ``differences``: [mean, low, high] each, and plain numbers where there is no interval.
    """
    names = list(rows)
    differences = {
        f"{names[0]} - {other}": _as_json(metric, _difference(rows[names[0]], rows[other]))
        for other in names[1:]
    }
    return {"rows": {name: _as_json(metric, row) for name, row in rows.items()}, "differences": differences}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is as it was.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    save_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _of_kind(kind: str, prompts: Sequence[Prompt], values: FloatArray) -> dict[str, Counts]:
    names = sorted({one.groups[kind] for one in prompts if kind in one.groups})
    belongs = {
        name: np.array([one.groups.get(kind) == name for one in prompts], dtype=np.float64) for name in names
    }
    return {name: Counts(values * inside, inside) for name, inside in belongs.items()}


def _difference(first: RowScores, other: RowScores) -> RowScores:
    """First minus other, prompt by prompt."""
    groups = {
        kind: {name: _minus(counts, other.groups[kind][name]) for name, counts in some.items()}
        for kind, some in first.groups.items()
    }
    numbers = {name: value - other.numbers[name] for name, value in first.numbers.items()}
    return RowScores(_minus(first.overall, other.overall), groups, numbers)


def _minus(first: Counts, other: Counts) -> Counts:
    return Counts(first.right - other.right, first.asked)


def _as_json(metric: str, row: RowScores) -> dict[str, Any]:
    groups = {
        kind: {name: _interval(counts) for name, counts in some.items()} for kind, some in row.groups.items()
    }
    numbers = {name: round(value, 4) for name, value in row.numbers.items()}
    return {metric: _interval(row.overall)} | numbers | groups


def _interval(counts: Counts) -> list[float]:
    return ratio_interval(counts.right, counts.asked).as_list()
