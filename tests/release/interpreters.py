"""The Pythons of this machine that the metadata promises to work with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROMISED = ("3.11", "3.12", "3.13")


def find_pythons() -> dict[str, Path | None]:
    """Each promised version, with an interpreter that runs, or None."""
    return {version: next(_running(version), None) for version in PROMISED}


def _running(version: str) -> Iterator[Path]:
    ask = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    for path in _places(version):
        # Some names on a path are only stand-ins, which run nothing until somebody chooses a version.
        done = subprocess.run([path, "-I", "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout == version:
            yield path


def _places(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if found := shutil.which(f"python{version}", path=folder):
            yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(root.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
