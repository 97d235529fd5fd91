"""Writes a study as a page to read: one table per question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.tables import table
from training.study.summary import is_clear

FREQUENCIES = ("common", "rare", "library_only")
TITLES = {
    "reference_timestep": "Reference timestep",
    "reference_caption": "Reference caption",
    "encoder": "Reference encoder",
    "reference_pool": "Resolution of h: cells a token stands for, a side",
    "queries": "Retrieval per prompt or per object phrase",
    "masking_share": "Masking share",
    "weighing": "Calibration of lambda",
}
_LEGEND = """\
- **probe**: share of the things in a library picture that a linear probe names from its features (all names in the
  captions made up).
- **right, wrong, none**: smooth-L1 of the draft that the corrected h stands for, on held-out scenes with things that
  only the library shows, names masked, with right, wrong and no references.
- **plain**: none − right on held-out prompts of known things, where the prompt says all; under zero references cost.
- **drawn**: share of the common / rare / library-only things asked for that the judge finds in the pictures of that
  adapter, right references, with the decoder and LoRA of the bundled one: the base's own does not follow an adapter.
- **against the default**: right less the default's, ± two standard errors over the pictures; **bold** if it is beyond
  that and beyond the noise of the seeds.
- **s**: seconds of one core for the alignment. What the frozen encoder made is kept for later settings, so the first
  is dearer."""


def make_page(document: Mapping[str, Any]) -> str:
    """Write docs/study.md.

    Args:
        document: As `summary.make_document` made it.
    """
    protocol = document["protocol"]
    things = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in protocol["asked for"].items())
    lines = [
        "# The study of single choices",
        "",
        f"Written by `{protocol['command']}`, never by hand; the numbers are also in [study.json](study.json), what",
        "follows from them in [research.md](research.md#the-study-of-single-choices). Every setting differs from the",
        "default in one choice. An adapter alone is trained on it in h-space (`training/ladd/alignment.py`):",
        f"{protocol['steps']} steps of {protocol['batch']} on {protocol['teacher-made pairs']} teacher-made pairs and",
        f"the variants of {protocol['real scenes']} real scenes, the same for all; "
        f"{protocol['held-out pairs with library-only things']} held-out pairs measure it.",
        f"{protocol['validation scenes']} validation scenes are drawn and looked up: they ask for {things} things.",
        "",
        _LEGEND,
        "",
        "## The noise",
        "",
        f"The default with {len(document['seeds'])} seeds. Two runs that differ in their seed alone may lie "
        f"{document['noise']:.4f} apart (two standard",
        "deviations of the difference of right losses; itself a rough estimate).",
        "",
        *table(["seed", *_HEADER], [[str(row["seed"]), *_cells(row)] for row in document["seeds"]]),
    ]
    for choice, question in document["questions"].items():
        lines += ["", f"## {TITLES[choice]}", "", *_question(choice, question, document["noise"])]
    return "\n".join([*lines, "", *_bundled(document["bundled"]), ""])


_HEADER = ["probe", "right", "wrong", "none", "wrong − right", "none − right", "plain", "drawn", "s"]


def _cells(row: Mapping[str, Any]) -> list[str]:
    unknown = row["unknown"]
    return [
        f"{row['probe']:.3f}",
        *(f"{unknown[kind]:.4f}" for kind in ("right", "wrong", "none")),
        _with_error(unknown["wrong_minus_right"]),
        _with_error(unknown["none_minus_right"]),
        _with_error(row["plain"]["none_minus_right"]),
        _shares(row["recall"]),
        f"{row['seconds']['align']:.0f}",
    ]


def _question(choice: str, question: Mapping[str, Any], noise: float) -> list[str]:
    rows = question["rows"]
    names = [f"{row['value']} (default)" if row["is_default"] else str(row["value"]) for row in rows]
    body = [[name, *_cells(row), _against(row, noise)] for name, row in zip(names, rows, strict=True)]
    lines = [question["verdict"] + ".", "", *table(["setting", *_HEADER, "against the default"], body)]
    if all("bundled" in row for row in rows):
        lines += ["", _LOOKED_UP, "", *_looked_up(names, rows)]
    return lines


_LOOKED_UP = "Shares of the things asked for, common / rare / library only, in the validation scenes:"


def _looked_up(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was found, and what the family's own adapter draws of it."""
    header = ["setting", "references that show one", "shown by a reference", "drawn by the bundled adapter"]
    body = [
        [
            name,
            f"{row['found']['of_references']:.2f}",
            _shares(row["found"]),
            _shares(row["bundled"]["recall"]),
        ]
        for name, row in zip(names, rows, strict=True)
    ]
    return table(header, body)


def _bundled(drawn: Mapping[str, Any]) -> list[str]:
    """The same scenes by the family's own adapter."""
    kinds = {"right": "right references", "wrong": "wrong ones", "none": "none"}
    body = [[words, _shares(drawn[kind]["recall"])] for kind, words in kinds.items()]
    return [
        "## The same scenes by the bundled adapter",
        "",
        "Trained to the end with the default, common / rare / library only:",
        "",
        *table(["", "drawn"], body),
    ]


def _against(row: Mapping[str, Any], noise: float) -> str:
    if row["is_default"]:
        return "-"
    text = _with_error(row["right_minus_default"])
    return f"**{text}**" if is_clear(row["right_minus_default"], noise) else text


def _with_error(difference: Sequence[float]) -> str:
    mean, error = difference
    return f"{mean:+.4f} ± {2 * error:.4f}"


def _shares(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[kind]:.2f}" if kind in values else "-" for kind in FREQUENCIES)
