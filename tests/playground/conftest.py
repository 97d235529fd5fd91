"""An open session on the nano bundle, and the command as a process that says which addresses it asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from ragturbo_sdk.playground.session import Session, open_session

ROOT = Path(__file__).resolve().parents[2]
# Python runs a module of this name at its start: the process notes every address that it goes to or asks for.
AUDIT = """
import os, sys

def note(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        with open(os.environ["RAGTURBO_TEST_ASKED"], "a") as file:
            print(address[0] if isinstance(address, tuple) else address, file=file)

sys.addaudithook(note)
"""


class Running(NamedTuple):
    """``ragturbo playground`` at work."""

    process: subprocess.Popen[str]
    said: dict[str, str | None]
    """Its JSON line."""
    temporary: Path
    """Where it puts temporary files."""
    asked: Callable[[], set[str]]
    """The addresses that the process asked for by now."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.said["url"])


@pytest.fixture
def session(nano_bundle: Path, tmp_path: Path) -> Iterator[Session]:
    """With a temporary copy of the nano bundle's library."""
    with open_session(nano_bundle, library=None, copies=tmp_path, device="cpu", threads=1) as opened:
        yield opened


@contextmanager
def playground(folder: Path, *words: str | Path) -> Iterator[Running]:
    """Run the command until the end of the block.

    Args:
        folder: Empty; for what the process writes.
        words: More options.
    """
    temporary, asked = folder / "temporary", folder / "asked"
    temporary.mkdir()
    (folder / "sitecustomize.py").write_text(AUDIT, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "runtime", folder))),
        "TMPDIR": str(temporary),
        "RAGTURBO_TEST_ASKED": str(asked),
        "GRADIO_ANALYTICS_ENABLED": "True",  # as where nobody has turned it off
        "HTTP_PROXY": "http://127.0.0.1:9",  # nobody is there: the page must not be looked for through it
    }
    command = [sys.executable, "-m", "ragturbo_sdk", "playground", "--no-browser", "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heed_interrupts,
    ) as process:
        try:
            said = json.loads(first_line(process))
            yield Running(process, said, temporary, lambda: set(asked.read_text().split()))
        finally:
            process.kill()


def heed_interrupts() -> None:
    """A shell starts its background jobs with SIGINT ignored, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def first_line(process: subprocess.Popen[str]) -> str:
    """What the command says when it listens; where it does not, why not."""
    out: IO[str] | None = process.stdout
    assert out
    return out.readline() or pytest.fail("".join(process.stderr or ()))
