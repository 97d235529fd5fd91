"""Puts single rows into results that are there, without drawing the others again.

The rows that the asked ones are paired with are drawn too (and the shipped adapter always): their new scores must be
those that the results hold, or other weights would stand in one table. Times stay what they were, those that follow
from others follow again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.by_concept import CURVES, recall_by_concept
from training.evaluation.publish import RESULTS, publish, read_results
from training.evaluation.results import PAIRS, make_document, write_json
from training.evaluation.rows import ORDER, TABLE
from training.evaluation.session import Session
from training.evaluation.times import add_derived_times

ADAPTER_ROW = "adapter_1"
TOLERANCE = 0.002
"""How far a row that is drawn again may lie from what was written: another processor rounds otherwise, and a question
in a thousand falls the other way. Other weights differ by ten times as much."""
FIXED = ("captions", "questions", "benchmark", "score", "fid", "noise", "teacher", "interval", "adapter")
"""Of the protocol: what must be alike."""


def merge_rows(session: Session, names: Sequence[str]) -> dict[str, Any]:
    """Measure some rows, and write them into results.json and the page.

    Args:
        session: Draws and judges.
        names: The rows that are replaced, or added.

    Returns:
        What results.json holds now.

    Raises:
        FileNotFoundError: There are no results to merge into.
        ValueError: They were measured otherwise, or with other weights; nothing was written.
    """
    out = session.settings.out
    old = read_results(out / RESULTS)
    check_protocol(old["protocol"], session.protocol())
    anchors = [name for name in anchors_of(names) if name in session.every_row()]
    new = make_document_of(session, [*names, *anchors])
    check_anchors(old, new, anchors)
    merged = merge_documents(old, new, names)
    write_json(out / RESULTS, merged)
    publish(merged, out)
    return merged


def make_document_of(session: Session, names: Sequence[str]) -> dict[str, Any]:
    """A document of some rows alone, without times."""
    measured = session.measured(names, {})
    rows = {name: one for name, one in measured.items() if name in TABLE}
    controls = {name: one for name, one in measured.items() if name not in TABLE}
    document = make_document(rows, controls, session.protocol())
    curves = {name: session.scores(name) for name in names if name in CURVES}
    shown = dict.fromkeys(session.world.names, 0.0)  # how often it was shown stays what it was
    document["by_concept"] = recall_by_concept(curves, session.judge.frequencies, shown)
    return document


def anchors_of(names: Sequence[str]) -> list[str]:
    """The rows that must be drawn beside the asked ones: what these are paired with, and the shipped adapter."""
    paired = {ADAPTER_ROW} | {name for pair in PAIRS.values() if set(pair) & set(names) for name in pair}
    return [name for name in ORDER if name in paired and name not in names]


def check_protocol(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse results that were measured otherwise.

    Raises:
        ValueError: Names everything that differs.
    """
    differing = [key for key in FIXED if there.get(key) != here.get(key)]
    lines = [f"{key}: {there.get(key)!r} there, {here.get(key)!r} here" for key in differing]
    if there["vqa"].get("sha256") != here["vqa"]["sha256"]:
        lines.append("vqa: another judge")
    if lines:
        raise ValueError(
            f"{RESULTS} was measured otherwise ({'; '.join(lines)}); give the same --count, --family and --judge "
            "again, or measure all rows anew, without --rows and --merge"
        )


def check_anchors(old: Mapping[str, Any], new: Mapping[str, Any], anchors: Sequence[str]) -> None:
    """Refuse results of other weights: what was drawn again must score as before.

    Raises:
        ValueError: Names the row, and both scores.
    """
    before, after = ({**one["rows"], **one["controls"]} for one in (old, new))
    for name in anchors:
        if name not in before:
            continue
        was, now = before[name]["tifa"][0], after[name]["tifa"][0]
        if abs(was - now) > TOLERANCE:
            raise ValueError(
                f"{name} has a TIFA of {was} in {RESULTS}, and {now} as it is drawn now: other weights, or other code; "
                "nothing was written; measure all rows anew, without --rows and --merge"
            )


def merge_documents(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Put rows of a document into another one, in the order of the table.

    Args:
        old: What results.json holds.
        new: The asked rows and their anchors.
        names: The asked rows; of the anchors nothing is taken but the pairs.
    """
    merged = dict(old)
    for part in ("rows", "controls"):
        times = {name: _times(row) for name, row in old[part].items()}
        taken = {name: {**row, **times.get(name, {})} for name, row in new[part].items() if name in names}
        both = {**old[part], **taken}
        merged[part] = {name: both[name] for name in ORDER if name in both}
    for part in ("paired", "paired_clip", "paired_recall"):
        both = {**old.get(part, {}), **new[part]}
        merged[part] = {name: both[name] for name in PAIRS if name in both}
    merged["by_concept"] = {
        concept: {**one, "recall": one["recall"] | _recall(new, concept, names)}
        for concept, one in old.get("by_concept", {}).items()
    }
    add_derived_times(merged)
    return merged


def _recall(new: Mapping[str, Any], concept: str, names: Sequence[str]) -> dict[str, float]:
    recall = new["by_concept"].get(concept, {}).get("recall", {})
    return {name: value for name, value in recall.items() if name in names}


def _times(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("ms", "ms_split", "ms_from") if key in row}
