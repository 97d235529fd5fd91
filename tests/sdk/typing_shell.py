"""Types a line into an interactive shell, as a user does, and returns what the command was given."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

LIMIT = 30.0  # seconds
# What the command does in these shells: it shows its words, each between signs that no echo of the line has.
ECHO = "ragturbo() { printf '<%s>' \"$@\"; printf '%s\\n' '<end''>'; }"


def typed(shell: list[str], *, start: str, line: str, home: Path) -> list[str]:
    """The words that the command gets when `line` is typed; a tab in it asks for completion."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HOME": str(home), "TERM": "dumb", "PS1": "$ "}
    with subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            os.write(ours, f"{start}\n{ECHO}\necho rea''dy\n".encode())
            _read_until(ours, "\nready")
            os.write(ours, f"{line}\n".encode())
            said = _read_until(ours, "<end>")
        finally:
            process.kill()
            os.close(ours)
    words = said[: said.rindex("<end>")].splitlines()[-1]
    return words[words.index("<") + 1 : -1].split("><")


def _read_until(terminal: int, mark: str) -> str:
    text, end = "", time.monotonic() + LIMIT
    while mark not in text.replace("\r", ""):
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no {mark!r} in {LIMIT} s:\n{text}"
        text += os.read(terminal, 65536).decode(errors="replace")
    return text.replace("\r", "")
