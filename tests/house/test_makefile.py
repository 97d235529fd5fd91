"""The Makefile hands a prompt over as it was typed, and its stamps keep it from installing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Makefile in a folder of its own, and an interpreter for the demo that only tells its arguments."""
    folder = tmp_path_factory.mktemp("make")
    shutil.copy(ROOT / "Makefile", folder)
    echo = folder / "echo"
    echo.write_text(
        f"#!{sys.executable}\nimport json, sys\nsys.stdout.write(json.dumps(sys.argv[1:]) + '\\n')\n",
        encoding="utf-8",
    )
    echo.chmod(0o755)
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "constraints-dev.txt",
        ".venv-uv/bin/uv",
        ".venv-demo/.stamp",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()  # the stamp comes last, so nothing is out of date
    return folder


def demo(checkout: Path, *arguments: str, **variables: str) -> list[str]:
    """What `make demo` would start Python with."""
    tools = [f"DEMO={checkout / 'echo'}", f"PYTHON={sys.executable}"]
    command = ["make", "--no-print-directory", "demo", *tools, *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "PROMPT"}}
    done = subprocess.run(
        command, cwd=checkout, env={**environment, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout.splitlines()[0])
    assert words[:3] == ["-m", "ragturbo_sdk", "demo"]
    return words[3:]


# What a command line can carry: no NUL; and make ends a line at a line feed.
PROMPTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=60)


@given(prompt=PROMPTS)
@settings(max_examples=25, deadline=None)
def test_prompt_reaches_the_program_unchanged(checkout: Path, prompt: str) -> None:
    """But for white space in front, which make drops, and which means nothing in a prompt."""
    assert demo(checkout, f"PROMPT={prompt}") == [
        "--output",
        "ragturbo-demo.png",
        "--",
        prompt.lstrip(" \t\v\f"),
    ]


@pytest.mark.parametrize(
    "prompt", ['a cat\'s "hat"', "it costs $5 $(HOME)", "`id`; exit 1 # x", "spaces  ", "", "--help"]
)
def test_prompts_that_shells_and_make_like_to_change(checkout: Path, prompt: str) -> None:
    assert demo(checkout, f"PROMPT={prompt}")[2:] == ["--", prompt]


def test_without_a_prompt_the_program_chooses(checkout: Path) -> None:
    assert demo(checkout) == ["--output", "ragturbo-demo.png"]


def test_a_shells_own_prompt_is_not_ours(checkout: Path) -> None:
    """Some shells export a variable of that name."""
    assert demo(checkout, PROMPT="%n@%m %~ %#") == ["--output", "ragturbo-demo.png"]


def test_another_picture(checkout: Path) -> None:
    assert demo(checkout, "PICTURE=my picture.png") == ["--output", "my picture.png"]


def test_every_target_has_a_line_in_the_help(checkout: Path) -> None:
    said = subprocess.run(
        ["make", "--no-print-directory"], cwd=checkout, capture_output=True, text=True, check=True
    )
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert {line.split()[0] for line in said.stdout.splitlines()} == set(phony.split()[1:])
