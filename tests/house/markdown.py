"""Reads what the documentation tests need out of Markdown: links, headings and code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<inline>[^)\s]+)\)|(?:src|href)=\"(?P<attribute>[^\"]+)\"")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block of code."""

    language: str
    body: str
    line: int
    """Where its first line of code is, counted from 1."""
    not_run: str | None
    """The reason given for not running it, in a comment right above it."""


def documents() -> list[Path]:
    """The README and the other documents of the project."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "runtime" / "README.md",
    ]


def blocks(text: str) -> list[Block]:
    """All fenced blocks, in order."""
    found = []
    for match in _FENCE.finditer(text):
        reason = _NOT_RUN.search(text, 0, match.start())
        line = text.count("\n", 0, match.start("body")) + 1
        found.append(Block(match["language"], match["body"], line, reason["reason"] if reason else None))
    return found


def links(text: str) -> list[str]:
    """Targets of links and pictures outside code."""
    prose = re.sub(r"`[^`\n]+`", "", _FENCE.sub("", text))
    return [match["inline"] or match["attribute"] for match in _LINK.finditer(prose)]


def anchors(text: str) -> set[str]:
    """The fragments that headings make, spelled as GitHub does: lower case, words joined by hyphens."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
