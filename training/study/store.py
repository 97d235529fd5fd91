"""What was measured, one JSON line each: a stopped study goes on with what is missing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.atomic import save_atomically

logger = logging.getLogger(__name__)

FILE = "measured.jsonl"


class Store:
    """A file of measurements, each under a hash of all that it depends on.

    Args:
        folder: Where the file lies; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lines: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self._read()

    def get(self, depends_on: Mapping[str, Any]) -> dict[str, Any] | None:
        """Look a measurement up."""
        line = self._lines.get(_key(depends_on))
        return None if line is None else line["measured"]

    def put(self, depends_on: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Keep a measurement; what was there stays."""
        key = _key(depends_on)
        self._lines[key] = {"key": key, "of": dict(depends_on), "measured": dict(measured)}
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in self._lines.values())
        save_atomically(self.path, lambda beside: beside.write_text(text, encoding="utf-8"))

    def _read(self) -> None:
        for number, text in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                line = json.loads(text)
                self._lines[line["key"]] = line
            except (ValueError, KeyError, TypeError):
                logger.warning("%s, line %d is damaged: what it held is measured again", self.path, number)


def _key(depends_on: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
