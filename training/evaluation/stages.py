"""Where quality is lost, stage by stage: each stage's pictures before the same judge, and what the next one loses."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from training.evaluation.rows import DRAWN, THROUGH_VAE
from training.evaluation.tables import RECALLS, cell, number, table

STAGES = {
    DRAWN: "none: the drawn scenes",
    THROUGH_VAE: "autoencoder: the same, encoded and decoded",
    "teacher_50": "text tower and teacher: 50 steps from the caption",
    "base_1": "student: one step instead of 50",
    "lora_only_1": "LoRA, trained without retrieval",
    "adapter_1": "adapter and references",
}
"""Row -> the stage that it has and the row above has not."""


def stage_lines(document: Mapping[str, Any]) -> list[str]:
    """The account in Markdown, with its conclusion; empty with fewer than two stages."""
    known = {**document["rows"], **document["controls"]}
    names = [name for name in STAGES if name in known]
    if len(names) < 2:
        return []
    lost = {name: known[before]["tifa"][0] - known[name]["tifa"][0] for before, name in pairwise(names)}
    body = [
        [STAGES[name], f"`{name}`", cell(known[name]["tifa"]), f"{lost[name]:+.3f}" if name in lost else "-",
         *(cell(known[name]["recall"].get(kind)) for kind in RECALLS), number(known[name].get("fid"))]
        for name in names
    ]  # fmt: skip
    recalls = [f"recall: {kind.replace('_', ' ')}" for kind in RECALLS]
    header = ["stage that is added", "row", "TIFA", "lost here (-: gained)", *recalls, "FID"]
    return [
        "## Where quality is lost",
        "",
        "Each row has one stage more than the one above; the same judge reads all of them.",
        "",
        *table(header, body),
        "",
        *_conclusion(lost, known),
        *_without_vae(names, document["protocol"]),
    ]


def _conclusion(lost: Mapping[str, float], known: Mapping[str, Any]) -> list[str]:
    """Say where most is lost, and of which kind of concept."""
    worst = max(lost, key=lambda name: lost[name])
    total = sum(some for some in lost.values() if some > 0)
    lines = [
        f"Most is lost at `{worst}` ({STAGES[worst].partition(':')[0]}): {lost[worst]:.3f} of the {total:.3f} that "
        "the stages lose together.",
    ]
    recall = known[worst]["recall"]
    kinds = [f"{kind.replace('_', ' ')} {recall[kind][0]:.0%}" for kind in RECALLS if kind in recall]
    if kinds:
        lines.append(f"Of the things that its captions name it shows: {', '.join(kinds)}.")
    return [*lines, ""]


def _without_vae(names: list[str], protocol: Mapping[str, Any]) -> list[str]:
    """What is known of the autoencoder where its row was not measured."""
    errors = protocol.get("vqa", {}).get("error_rates", {})
    if THROUGH_VAE in names or "reconstructed" not in errors or "drawn" not in errors:
        return []
    drawn, rebuilt = errors["drawn"]["all"], errors["reconstructed"]["all"]
    return [
        f"The autoencoder's own row (`{THROUGH_VAE}`) was not measured here. On other scenes, those of the judge's "
        "errors below,",
        f"it costs {rebuilt - drawn:.1%} of the questions ({drawn:.1%} wrong before it, {rebuilt:.1%} after).",
        "",
    ]
