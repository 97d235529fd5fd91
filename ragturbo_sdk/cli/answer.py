"""What a command has to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What goes to stdout, and how the process ends."""

    text: str
    status: int = 0
    """The exit status."""
    afterwards: Callable[[int], object] | None = None
    """What goes on once the text is printed, for a command that stays; called with the exit status so far."""


def as_json(data: Mapping[str, Any]) -> str:
    """Return JSON for people and programs: indented, letters as they are."""
    return json.dumps(data, indent=2, ensure_ascii=False)
