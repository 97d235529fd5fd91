"""Recall of every concept, beside how often the training showed it: what the curve of the results is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.data.world import Frequency
from training.evaluation.scores import Counts, RowScores

CURVES = ("teacher_50", "base_1", "lora_only_1", "adapter_1")
"""Rows whose recall is kept concept by concept."""


def recall_by_concept(
    rows: Mapping[str, RowScores], frequencies: Mapping[str, Frequency], shown: Mapping[str, float]
) -> dict[str, Any]:
    """Recall of every concept that the benchmark asks for, beside how often the training showed it.

    Args:
        rows: What is known by row; those of `CURVES` are taken.
        frequencies: Concept -> how often training showed it, in a word.
        shown: Concept -> expected number of training pictures that show it.

    Returns:
        Concept -> ``frequency``, ``training_pictures``, ``asked`` (groups of the captions) and ``recall`` by row.
    """
    curves = {name: rows[name].by_concept for name in CURVES if name in rows}
    concepts: dict[str, Any] = {}
    for concept, counts in next(iter(curves.values()), {}).items():
        concepts[concept] = {
            "frequency": frequencies[concept],
            "training_pictures": round(shown[concept], 1),
            "asked": int(counts.asked.sum()),
            "recall": {name: round(_share(some[concept]), 4) for name, some in curves.items()},
        }
    return concepts


def _share(counts: Counts) -> float:
    return float(counts.right.sum() / counts.asked.sum())
