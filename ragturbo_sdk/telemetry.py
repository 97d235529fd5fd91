"""What a host sees of our work: records for ``logging``, and OpenTelemetry spans where the host traces.

A record carries a dictionary, ``record.ragturbo``: the name of the event, its milliseconds, and what it was about.
Spans cost nothing, and OpenTelemetry is not imported, unless the host has imported it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragturbo_runtime.stopwatch import Interval
from ragturbo_sdk._version import __version__

Attributes = Mapping[str, str | bool | int | float]


class Event:
    """Something that takes time. Whoever does it says what it was about and when its parts ran.

    Attributes:
        about: What is logged and traced of it.
        parts: When its parts ran.
    """

    def __init__(self, name: str, start: float) -> None:
        """Begin.

        Args:
            name: For example ``"generate"``.
            start: When, in seconds of ``time.perf_counter``.
        """
        self.name: str = name
        self.about: dict[str, str | bool | int | float] = {}
        self.parts: Sequence[Interval] = ()
        self.start: float = start


@contextlib.contextmanager
def event(logger: logging.Logger, level: int, name: str, *, start: float | None = None) -> Iterator[Event]:
    """Log and trace what is done in the ``with`` block; also if it raises, which passes through.

    Args:
        logger: Of the module that does it.
        level: Of the record.
        name: What it is called: ``name`` in records, ``ragturbo.name`` in traces.
        start: When it began, in seconds of ``time.perf_counter``; None for now.

    Yields:
        The event, to be filled.
    """
    running = Event(name, time.perf_counter() if start is None else start)
    try:
        yield running
    except Exception as error:
        _finish(logger, level, running, error)
        raise
    _finish(logger, level, running, None)


def _finish(logger: logging.Logger, level: int, done: Event, error: Exception | None) -> None:
    end = time.perf_counter()
    milliseconds = round((end - done.start) * 1e3, 3)
    if logger.isEnabledFor(level):
        outcome = {} if error is None else {"error": type(error).__name__}
        fields = {"event": done.name, "milliseconds": milliseconds, **done.about, **outcome}
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        logger.log(level, "%s", words, extra={"ragturbo": fields})
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        _trace(trace, done, end, error)


def _trace(trace: Any, done: Event, end: float, error: Exception | None) -> None:  # noqa: ANN401 - a foreign module
    """Make the spans afterwards: their times are known, and nothing foreign runs between two graphs."""
    zero = time.time_ns() - int(time.perf_counter() * 1e9)  # of perf_counter, in nanoseconds since 1970

    def at(seconds: float) -> int:
        return zero + int(seconds * 1e9)

    tracer = trace.get_tracer("ragturbo_sdk", __version__)
    span = tracer.start_span(f"ragturbo.{done.name}", start_time=at(done.start), attributes=done.about)
    within = trace.set_span_in_context(span)
    for part in done.parts:
        child = tracer.start_span(f"ragturbo.{part.stage}", context=within, start_time=at(part.start))
        child.end(end_time=at(part.end))
    if error is not None:
        span.record_exception(error)
        span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
    span.end(end_time=at(end))
