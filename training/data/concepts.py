"""The named things that a scene can show, each with its emoji and its grammar."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

Category = Literal["animal/human", "food", "object"]  # spelled as TIFA's element types

TABLE = Path(__file__).with_name("concepts.tsv")


@dataclass(frozen=True, slots=True)
class Concept:
    """One nameable thing."""

    name: str
    """Singular, lower case but for proper names, e.g. ``"red apple"``."""
    plural: str
    """Plural, e.g. ``"mice"``."""
    emoji: str
    """The single code point that Noto Color Emoji draws it with."""
    category: Category
    """TIFA's element type of questions about it."""

    @property
    def article(self) -> str:
        """``"a"`` or ``"an"``, by sound (``"a unicorn"``, ``"an owl"``)."""
        sounds_like_consonant = self.name.startswith(("uni", "one", "eu"))
        return "an" if self.name[0].lower() in "aeiou" and not sounds_like_consonant else "a"


@cache
def concepts() -> dict[str, Concept]:
    """Every known concept by name, in the table's order.

    Returns:
        Several hundred entries; the order is part of the world (glyph atlas rows follow it).
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["name"]: _concept(row) for row in rows}


def _concept(row: dict[str, str]) -> Concept:
    return Concept(row["name"], row["plural"], row["emoji"], cast(Category, row["category"]))
