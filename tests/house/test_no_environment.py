"""Who types a command of training or export with a bare Python reads what to do first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["export.onnx", "export.bench", "training.family", "training.evaluation"])
def test_a_bare_python_is_told_to_make_the_environment(command: str) -> None:
    # -S leaves out site-packages, so that Python has its standard library and nothing else.
    run = subprocess.run(
        [sys.executable, "-S", "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: training and export need torch and more, which the development environment has: "
        "make venv, then source .venv/bin/activate"
    )
