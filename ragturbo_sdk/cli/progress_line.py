"""One line on a terminal that says how far a long work is, and how long it still takes."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_SECONDS = 0.1
"""Between two lines: a terminal is slow."""


class ProgressLine:
    """Writes to a terminal; to anything else it writes nothing."""

    def __init__(self, unit: str, stream: TextIO | None = None) -> None:
        """Keep where to write.

        Args:
            unit: What is counted, in the plural.
            stream: None for stderr.
        """
        self._unit, self._stream = unit, sys.stderr if stream is None else stream
        self._start, self._first, self._shown = time.monotonic(), -1, 0.0

    def show(self, done: int, total: int) -> None:
        """Say how far it is.

        Args:
            done: By now; what is done at the first call was done before, and says nothing of the pace.
            total: At the end.
        """
        now = time.monotonic()
        if self._first < 0:
            self._start, self._first = now, done
        if not self._stream.isatty() or (now - self._shown < _SECONDS and done < total):
            return
        self._shown = now
        print(f"\r{self._text(done, total, now)}\x1b[K", end="", file=self._stream, flush=True)

    def _text(self, done: int, total: int, now: float) -> str:
        text = f"{done} of {total} {self._unit}"
        pace = (done - self._first) / max(1e-9, now - self._start)
        if pace <= 0:
            return text
        return f"{text}, {pace:.0f} a second, {_duration((total - done) / pace)} left"

    def __enter__(self) -> ProgressLine:
        """Return the line itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away, if there is one."""
        if self._shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
