"""One row in a process of its own: it loads, says so, and then draws one picture per message."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from export.benchmark.errors import one_line
from export.benchmark.job import (
    COMPILED,
    EAGER,
    OPTIMUM,
    OURS,
    OURS_OFF,
    PROMPT,
    WARM_UP,
    Drawer,
    Job,
    Loaded,
)


def serve(connection: Connection, job: Job, log: Path) -> None:
    """Answer requests until "stop": a pair ``("ok", answer)`` or ``("failed", reason)`` each.

    The first answer, without a request, is a `Loaded`.

    Args:
        connection: The parent's.
        job: What to load.
        log: A file that takes what libraries print.
    """
    _quiet(log)
    with tempfile.TemporaryDirectory() as caches:
        # What an earlier run has compiled would hide what compiling takes.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = caches
        try:
            drawer, loaded = _load(job)
        except Exception as error:  # whatever a library raises is the row's reason
            connection.send(("failed", one_line(error)))
            return
        connection.send(("ok", loaded))
        _answer(connection, drawer)


def _answer(connection: Connection, drawer: Drawer) -> None:
    requests: dict[str, Callable[..., object]] = {"draw": drawer.draw}
    if (run_bare := getattr(drawer, "run_bare", None)) is not None:
        requests["bare"] = run_bare
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:  # the parent is gone
            return
        if name == "stop":
            return
        try:
            connection.send(("ok", requests[name](*arguments)))
        except Exception as error:
            connection.send(("failed", one_line(error)))


def _load(job: Job) -> tuple[Drawer, Loaded]:
    """Load, and draw the warm-up; without retrieval first, so that its peak is its own."""
    start = time.perf_counter()
    drawer = _drawer(job)
    load_ms = (time.perf_counter() - start) * 1e3 - drawer.preparing_ms
    peaks = {}
    for row in (OURS_OFF, OURS) if job.row == OURS else (job.row,):
        for seed in range(WARM_UP):
            drawer.draw(row, PROMPT, seed)
        peaks[row] = job.device.peak_bytes(job.free_before)
    return drawer, Loaded(load_ms, drawer.compile_ms, peaks, drawer.note)


def _drawer(job: Job) -> Drawer:
    """Late imports: a row pays for its own libraries alone, in time and in memory."""
    if job.row == OURS:
        from export.benchmark.ours import OurDrawer

        return OurDrawer(job)
    if job.row in (EAGER, COMPILED):
        from export.benchmark.torch_rows import DiffusersDrawer

        return DiffusersDrawer(job)
    if job.row == OPTIMUM:
        from export.benchmark.optimum_row import OptimumDrawer

        return OptimumDrawer(job)
    raise ValueError(f"no row is called {job.row!r}")


def _quiet(log: Path) -> None:
    """Leave the terminal to the parent, whoever prints: Python or a library."""
    warnings.simplefilter("ignore")
    file: Any = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
