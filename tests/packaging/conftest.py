"""The distributions as a user gets them: built from a copy of the checkout, installed where nothing else is.

A copy, because building writes into the source folder, and because what a build leaves there would hide
what the sdist forgot.

``make release-check`` names files that are built already (RAGTURBO_DIST) and the Python to install them with
(RAGTURBO_PYTHON), so that these tests see the very bytes that are published.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.release.candidate import uv

ROOT = Path(__file__).resolve().parents[2]
# What commands write, and what git does not track (see .gitignore): never part of a distribution.
GENERATED = shutil.ignore_patterns(
    *(".git", ".venv*", "__pycache__", "*.py[cod]", "*.egg-info", ".*_cache", ".hypothesis", ".DS_Store"),
    *(
        "runs",
        "work",
        "build",
        "dist",
        "site",
        "failures",
        "*.partial",
        "*.tmp",
        "*.resume",
        "ragturbo-demo.png",
    ),
)


@dataclass(frozen=True)
class Distributions:
    """One build."""

    tree: Path
    """The copy of the checkout that it was built from."""
    sdist: Path
    wheel: Path
    """Built from the sdist, not from the tree."""


@dataclass(frozen=True)
class Environment:
    """An environment that holds the wheel with the [cpu] extra, and nothing else."""

    path: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def site_packages(self) -> Path:
        """Where everything was installed."""
        (folder,) = self.path.glob("[Ll]ib/**/site-packages")
        return folder


def run(command: Sequence[str | Path], *, cwd: Path) -> str:
    """Run a command that must succeed; returns its standard output."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist of this checkout and the wheel built from that sdist."""
    base = tmp_path_factory.mktemp("build")
    tree, out = base / "tree", base / "dist"
    shutil.copytree(ROOT, tree, ignore=GENERATED)
    if built := os.environ.get("RAGTURBO_DIST"):
        return found_in(Path(built), tree)
    pins = tree / "constraints-dev.txt"
    command = [
        uv(),
        "build",
        "--quiet",
        "--python",
        sys.executable,
        "--build-constraints",
        pins,
        "--out-dir",
        out,
    ]
    run([*command, tree], cwd=base)  # without --sdist or --wheel: the wheel is built from the sdist
    return found_in(out, tree)


def found_in(folder: Path, tree: Path) -> Distributions:
    """The one sdist and the one wheel of a folder."""
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Distributions(tree, sdist, wheel)


@pytest.fixture(scope="session")
def environment(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, installed with the pinned runtime set into an environment that had nothing in it."""
    path = tmp_path_factory.mktemp("clean") / "environment"
    python = os.environ.get("RAGTURBO_PYTHON", sys.executable)
    run([uv(), "venv", "--quiet", "--python", python, path], cwd=path.parent)
    environment = Environment(path)
    install = [uv(), "pip", "install", "--quiet", "--python", environment.python]
    pins = ["--constraint", distributions.tree / "constraints.txt"]
    run([*install, *pins, f"ragturbo-sdk[cpu] @ {distributions.wheel.as_uri()}"], cwd=path.parent)
    return environment
