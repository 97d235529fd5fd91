"""The table that the command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_document(document: Mapping[str, Any]) -> str:
    """Rows as columns, and their differences beside them; one line a score.

    Args:
        document: With ``benchmark``, ``protocol``, ``rows`` and ``differences``.
    """
    protocol = document["protocol"]
    title = f"{document['benchmark']}, {protocol['prompts']} prompts"
    if "vqa" in protocol:
        title += f", {protocol['questions']} questions; VQA {protocol['vqa']['folder']}, {protocol['vqa']['choice']}"
    if any(protocol.get("unanswerable", {}).values()):
        title += f"\nno choice has a label, counted as wrong: {protocol['unanswerable']}"
    columns = {**document["rows"], **document["differences"]}
    first = next(iter(columns.values()))
    lines = [["score", *columns]]
    for key, value in first.items():
        if isinstance(value, Mapping):
            lines += [
                _line(f"{key[3:]}: {name}", [one[key][name] for one in columns.values()]) for name in value
            ]
        else:
            lines.append(_line(key, [one[key] for one in columns.values()]))
    return "\n".join([title, *_aligned(lines)])


def _line(title: str, values: Sequence[Any]) -> list[str]:
    return [title, *(_number(value) for value in values)]


def _number(value: float | Sequence[float]) -> str:
    if isinstance(value, int | float):
        return f"{value:.2f}"
    mean, low, high = value
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
