"""CHANGELOG.md: its versions, its dates, and what it says of one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from packaging.version import Version

from tests.release.candidate import Candidate, Fault

HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\S+))?[ ]*$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """What stands below one heading."""

    name: str
    day: str | None
    text: str

    @property
    def entries(self) -> int:
        """How many changes it tells."""
        return len(re.findall(r"^- ", self.text, re.MULTILINE))


def sections(text: str) -> list[Section]:
    """All sections, in order."""
    found = list(HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [Section(m[1], m[2], text[m.end() : end].strip()) for m, end in zip(found, ends, strict=True)]


def check_changelog(candidate: Candidate) -> str:
    """Unreleased first, then versions that fall and days that do not rise; a tagged version is all there."""
    told = sections((candidate.clone / "CHANGELOG.md").read_text(encoding="utf-8"))
    if not told or told[0].name != "Unreleased" or len(told) < 2:
        raise Fault(f"the sections are {[s.name for s in told]}, expected Unreleased and then versions")
    unreleased, newest = told[0], told[1]
    _check_order(told[1:])
    if newest.name != candidate.version:
        raise Fault(
            f"the newest section is [{newest.name}], expected [{candidate.version}] as in _version.py"
        )
    if any(tag.startswith("v") for tag in candidate.tags) and unreleased.entries:
        raise Fault(
            f"the commit is tagged, and [Unreleased] still has {unreleased.entries} entries; date them"
        )
    return f"[{newest.name}] of {newest.day}, {unreleased.entries} entries not released yet"


def _check_order(versions: list[Section]) -> None:
    days = [_day(section) for section in versions]
    numbers = [Version(section.name) for section in versions]
    if numbers != sorted(set(numbers), reverse=True):
        raise Fault(f"the versions are {[section.name for section in versions]}, expected the newest first")
    if days != sorted(days, reverse=True):
        raise Fault(f"the days are {[str(day) for day in days]}, expected the newest first")


def _day(section: Section) -> date:
    try:
        return date.fromisoformat(section.day or "")
    except ValueError as exc:
        what = f"[{section.name}] is of {section.day!r}, expected a day such as 2026-01-31"
        raise Fault(what) from exc


def notes(candidate: Candidate) -> str:
    """What the changelog says of the version."""
    told = sections((candidate.clone / "CHANGELOG.md").read_text(encoding="utf-8"))
    return next(section.text for section in told if section.name == candidate.version) + "\n"
