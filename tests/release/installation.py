"""The wheel where nothing else is: installed and used with each Python."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.release.candidate import Candidate, run, uv


def check_installed(candidate: Candidate, python: Path) -> str:
    """Run tests/packaging on these very files; it installs the wheel with that Python and draws pictures."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/packaging"]
    said = run(
        command, cwd=candidate.clone, RAGTURBO_DIST=str(candidate.wheel.parent), RAGTURBO_PYTHON=str(python)
    )
    return f"{python}: {said.splitlines()[-1]}"


def install(candidate: Candidate, python: Path, environment: Path) -> Path:
    """Make an environment that holds the wheel with the pinned runtime set; returns its interpreter."""
    run([uv(), "venv", "--quiet", "--python", python, environment], cwd=environment.parent)
    (inside,) = (p for p in (environment / "bin/python", environment / "Scripts/python.exe") if p.exists())
    pins = ["--constraint", candidate.clone / "constraints.txt"]
    wheel = f"ragturbo-sdk[cpu] @ {candidate.wheel.as_uri()}"
    run([uv(), "pip", "install", "--quiet", "--python", inside, *pins, wheel], cwd=environment.parent)
    return inside
