"""Nothing of ours, and nothing that we bring along, speaks to a network or leaves an identifier behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOST = """
import os, sys, time
import ragturbo_sdk
assert "ORT_DISABLE_TELEMETRY" not in os.environ
before = dict(os.environ)
generator = ragturbo_sdk.Generator(sys.argv[1], device="cpu", threads=1)
generator.generate("a red apple", seed=7)
assert dict(os.environ) == before
time.sleep(1)
"""


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """With a home and a folder for temporary files that must stay empty."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "HOME")
    }
    places = {name: str(folder) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}
    return subprocess.run(
        words, env=environment | places, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_no_file_is_left_and_the_environment_stays_as_it_was(nano_bundle: Path, empty: Path) -> None:
    """ONNX Runtime's telemetry would keep its device's identifier there."""
    done = run([sys.executable, "-c", HOST, str(nano_bundle)], empty)
    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "doctor", "generate"])
def test_commands_leave_nothing_behind(nano_bundle: Path, empty: Path, tmp_path: Path, command: str) -> None:
    words = ["a cat", "-o", str(tmp_path / "cat.png")] if command == "generate" else []
    done = run([sys.executable, "-m", "ragturbo_sdk", command, *words, "--bundle", str(nano_bundle)], empty)
    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_system_call_reaches_for_a_network(nano_bundle: Path, empty: Path, tmp_path: Path) -> None:
    """Python's audit hooks do not see what a C++ library does (tests/packaging/host_app.py has those)."""
    log = tmp_path / "calls"
    trace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(log)]
    done = run([*trace, sys.executable, "-c", HOST, str(nano_bundle)], empty)
    if "ptrace" in done.stderr:
        pytest.skip("this machine allows no ptrace")
    assert done.returncode == 0, done.stderr
    assert not [line for line in log.read_text().splitlines() if "AF_INET" in line or "AF_NETLINK" in line]


def test_a_host_that_has_set_the_variable_keeps_it(nano_bundle: Path, empty: Path) -> None:
    host = 'import os; os.environ["ORT_DISABLE_TELEMETRY"] = "yes"' + HOST.replace(
        'assert "ORT_DISABLE_TELEMETRY" not in os.environ\n', ""
    )
    assert run([sys.executable, "-c", host, str(nano_bundle)], empty).returncode == 0
