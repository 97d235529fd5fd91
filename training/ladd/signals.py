"""Stops a run between two steps: a checkpoint from within a step would not be one that a run without a stop passes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Note SIGINT (Ctrl-C) and SIGTERM instead of dying of them, inside the block.

    A second SIGINT acts as ever. Outside the main thread, where Python allows no handlers, nothing is noted.

    Yields:
        A function that says whether a signal has come.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
