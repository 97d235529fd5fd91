"""The distributions as a user gets them: built from a copy of the checkout, installed where nothing else is.

A copy, because building writes into the source folder, and because what a build leaves there would hide
what the sdist forgot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

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


def uv() -> str:
    """The uv of the development set, or the one on the path."""
    if find_spec("uv"):
        from uv import find_uv_bin

        return str(find_uv_bin())
    found = shutil.which("uv")
    assert found, "no uv: install the test group (make test does)"
    return found


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
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Distributions(tree, sdist, wheel)


@pytest.fixture(scope="session")
def environment(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, installed with the pinned runtime set into an environment that had nothing in it."""
    path = tmp_path_factory.mktemp("clean") / "environment"
    run([uv(), "venv", "--quiet", "--python", sys.executable, path], cwd=path.parent)
    environment = Environment(path)
    install = [uv(), "pip", "install", "--quiet", "--python", environment.python]
    pins = ["--constraint", distributions.tree / "constraints.txt"]
    run([*install, *pins, f"ragturbo-sdk[cpu] @ {distributions.wheel.as_uri()}"], cwd=path.parent)
    return environment
