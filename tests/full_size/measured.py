"""Runs a command in a process of its own, and says what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    output: str
    seconds: float
    peak_bytes: int


def run(*words: str, log: Path) -> Measured:
    """A Python command from the root of the checkout; it must succeed."""
    start = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=_environment(), stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text(encoding="utf-8", errors="replace")
    assert process.returncode == 0, output[-3000:]
    return Measured(output, time.monotonic() - start, usage.ru_maxrss * 1024)


def _environment() -> dict[str, str]:
    """Ours, without the limit that keeps test processes out of each other's way: this one runs for minutes."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
