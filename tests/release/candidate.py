"""What is to be released: the files that are built from a clean clone of the commit, and their version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.release.repack import repack


class Fault(Exception):
    """A check failed; says what was found and what is expected."""


@dataclass(frozen=True)
class Candidate:
    """One build.

    Attributes:
        clone: The clean clone that it was built from.
        sdist: The source archive.
        wheel: Built from the sdist.
        version: What `ragturbo_sdk/_version.py` of the clone says.
        tags: Of the commit.
    """

    clone: Path
    sdist: Path
    wheel: Path
    version: str
    tags: tuple[str, ...]


def run(command: Sequence[str | Path], *, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed; returns its standard output."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**clean, **variables}, capture_output=True, text=True
    )
    if done.returncode:
        raise Fault(
            f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def uv() -> str:
    """The uv of the development set, or the one on the path."""
    if find_spec("uv"):
        from uv import find_uv_bin

        return str(find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise Fault("no uv: install the test group (make test does)")
    return found


def build(checkout: Path, folder: Path) -> Candidate:
    """Clone what `checkout` has committed, and build both files in the new `folder`."""
    clone, out = folder / "clone", folder / "dist"
    folder.mkdir(parents=True)
    run(["git", "clone", "--quiet", checkout, clone], cwd=folder)
    made = run(["git", "log", "-1", "--format=%ct"], cwd=clone).strip()
    tags = run(["git", "tag", "--points-at", "HEAD"], cwd=clone).split()
    pins = ["--build-constraints", clone / "constraints-dev.txt", "--python", sys.executable]
    # Without --sdist or --wheel the wheel is built from the sdist.
    run([uv(), "build", "--quiet", *pins, "--out-dir", out, clone], cwd=folder, SOURCE_DATE_EPOCH=made)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    repack(sdist, int(made))
    return Candidate(clone, sdist, wheel, version_of(clone), tuple(tags))


def version_of(clone: Path) -> str:
    """The one source of the version."""
    text = (clone / "ragturbo_sdk" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise Fault(f'_version.py holds no line __version__ = "...":\n{text}')
    return match[1]
