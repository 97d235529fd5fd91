"""The types that a host sees: a file that only uses the API, checked as the host would check it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def mypy(file: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Check one file strictly, without this project's settings; our packages count as installed ones."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--follow-imports=silent",
            "--cache-dir",
            str(cache),
            str(file),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])},
        cwd=cache,
        check=False,
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reading the types of numpy and Pillow takes most of the time, and once is enough."""
    return tmp_path_factory.mktemp("mypy")


def test_a_host_that_uses_the_api_type_checks(cache: Path) -> None:
    done = mypy(Path(__file__).with_name("api_use.py"), cache)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_can_fail(cache: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from ragturbo_sdk import Generator\n\nwidth: str = Generator().info.width\n", encoding="utf-8"
    )
    done = mypy(wrong, cache)
    assert "Incompatible types in assignment" in done.stdout, done.stdout + done.stderr
