"""What many tries of the base give beside the adapter, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.times import total_ms

ADAPTER, SEEDS = "adapter_1", "best_of_seeds_1"


def choice_lines(rows: Mapping[str, Any]) -> list[str]:
    """Say where the best of many seeds beats the adapter, and in what time; empty where one was not measured.

    Args:
        rows: The table's, as results.json holds them.
    """
    if ADAPTER not in rows or SEEDS not in rows:
        return []
    ours, seeds = rows[ADAPTER], rows[SEEDS]
    behind, ahead = _compare(ours, seeds)
    return [
        f"**The best of {seeds.get('candidates', 'some')} seeds of the base**, chosen by the score itself, which no "
        "user can do, is ahead of the adapter in",
        f"{', '.join(behind) or 'nothing'}. The adapter is ahead in {', '.join(ahead) or 'nothing'}.",
        *_price(total_ms(ours), total_ms(seeds)),
        "",
    ]


def _compare(ours: Mapping[str, Any], seeds: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Where the first is behind the second, and where it is ahead, by their means."""
    behind: list[str] = []
    ahead: list[str] = []
    for words, mine in _means(ours).items():
        theirs = _means(seeds).get(words, mine)
        if mine != theirs:
            (ahead if mine > theirs else behind).append(f"{words} ({mine:.3f}, seeds {theirs:.3f})")
    return behind, ahead


def _means(row: Mapping[str, Any]) -> dict[str, float]:
    scores = {"TIFA": row["tifa"], "CLIP": row.get("clip")}
    scores |= {f"recall of {kind.replace('_', ' ')} concepts": some for kind, some in row["recall"].items()}
    return {words: float(some[0]) for words, some in scores.items() if some is not None}


def _price(ours: float | None, seeds: float | None) -> list[str]:
    if ours is None or seeds is None:
        return []
    return [
        f"The seeds take {seeds:.0f} ms a picture where the adapter takes {ours:.0f}: {seeds / ours:.1f} times as "
        "long, without the judge that chooses."
    ]
