"""A folder in which mutmut can work: the runtime under ``src``, where it looks for code, and the tests beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.mutation.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
_CONFIG = """\
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib"]
markers = ["slow: ", "quiet: ", "gpu: ", "network: "]
filterwarnings = ["error"]
pythonpath = [".", "src"]

[tool.mutmut]
source_paths = ["src"]
only_mutate = [{files}]
also_copy = ["ragturbo_sdk", "training"]
pytest_add_cli_args_test_selection = [{tests}]
# torch and ScaNN have threads: mutants are forked from a process that has imported them and has run nothing.
process_isolation = "forkserver"
"""


def make_workplace(folder: Path) -> None:
    """Copy what the tests of the rooms need; a folder that is there already is gone on with.

    Args:
        folder: It is made.
    """
    for name, target in (("runtime/ragturbo_runtime", "src/ragturbo_runtime"), ("tests", "tests")):
        _copy(ROOT / name, folder / target)
    for name in ("ragturbo_sdk", "training"):
        _copy(ROOT / name, folder / name)
    files = [f"src/ragturbo_runtime/{pattern}" for room in ROOMS for pattern in room.files]
    tests = [test for room in ROOMS for test in room.tests]
    (folder / "pyproject.toml").write_text(_CONFIG.format(files=_quoted(files), tests=_quoted(tests)))


def _copy(source: Path, target: Path) -> None:
    """Weights and bundles are large, and no test of these rooms reads them."""
    ignored = shutil.ignore_patterns("__pycache__", "weights", "bundles", "full_size")
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in dict.fromkeys(names))
