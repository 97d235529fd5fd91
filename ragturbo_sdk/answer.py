"""What a command has to say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What goes to stdout, and how the process ends."""

    text: str
    status: int = 0
    """The exit status."""


def as_json(data: Mapping[str, Any]) -> str:
    """Return JSON for people and programs: indented, letters as they are."""
    return json.dumps(data, indent=2, ensure_ascii=False)
