"""The parent's side of a worker."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import tempfile
from pathlib import Path
from types import TracebackType

from export.benchmark.errors import RowError
from export.benchmark.job import Drawn, GraphRun, Job, Loaded
from export.benchmark.worker import serve


class Worker:
    """A process that has loaded one row, and sleeps until it is asked.

    Args:
        job: What to load; how much memory is free before is filled in.

    Attributes:
        loaded: What loading took.

    Raises:
        RowError: It cannot be loaded or cannot draw; says why.
    """

    def __init__(self, job: Job) -> None:
        self.job = dataclasses.replace(job, free_before=job.device.free_bytes())
        handle, log = tempfile.mkstemp(prefix=f"bench-{job.row}-", suffix=".log")
        os.close(handle)
        self._log = Path(log)
        # Spawned, not forked: its memory is its own from the first byte.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, self.job, self._log)
        self._process = context.Process(target=serve, args=arguments, name=job.row, daemon=True)
        self._process.start()
        theirs.close()
        try:
            loaded = self._receive()
        except BaseException:
            self.close()
            raise
        assert isinstance(loaded, Loaded)
        self.loaded = loaded

    def draw(self, row: str, prompt: str, seed: int) -> Drawn:
        """Draw one picture.

        Raises:
            RowError: It cannot; says why.
        """
        drawn = self._ask("draw", row, prompt, seed)
        assert isinstance(drawn, Drawn)
        return drawn

    def run_bare(self) -> list[GraphRun]:
        """Run the graphs of a picture with retrieval by themselves; for the worker of `OURS` alone.

        Raises:
            RowError: It cannot; says why.
        """
        runs = self._ask("bare")
        assert isinstance(runs, list)
        return runs

    def __enter__(self) -> Worker:
        """Return the worker itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the process, and wait for its end: its memory is free then."""
        try:
            self._connection.send(("stop",))
        except OSError:  # it is gone already
            pass
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        self._log.unlink(missing_ok=True)

    def _ask(self, *request: object) -> object:
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._gone() from error
        return self._receive()

    def _receive(self) -> object:
        try:
            state, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if state == "failed":
            raise RowError(str(answer))
        result: object = answer
        return result

    def _gone(self) -> RowError:
        self._process.join(timeout=10)
        status = self._process.exitcode
        why = "killed: out of memory?" if status == -9 else self._last_words()
        return RowError(f"its process ended with exit status {status} ({why})")

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing")
