"""A process that does cases one by one, and another in its place when a case has killed it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""For one case."""


class CrashProof:
    """Runs ``python -m MODULE ...``, which answers each line with a line of JSON."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        """Start nothing yet.

        Args:
            module: What to run.
            arguments: Its arguments.
            log: Where its stderr goes: the last words of what crashed.
        """
        self._command = [sys.executable, "-W", "error", "-m", module, *arguments]
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def answers(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Do the cases.

        Yields:
            Each number with what was answered; where the process died or hung, ``{"crash": why}``.
        """
        try:
            for number in numbers:
                yield number, self._answer(number)
        finally:
            self._stop()

    def _answer(self, number: int) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if waiting.select(SECONDS) else None
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._stop()
        said = self._log.read_text(encoding="utf-8", errors="replace")[-1500:]
        return {"crash": f"{'it died' if line == '' else 'it hung'} ({process.returncode}): {said}"}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            paths = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
            with self._log.open("w", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": paths},
                )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
