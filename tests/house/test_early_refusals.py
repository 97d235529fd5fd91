"""A mistyped config is refused at once, not after the 10 s that importing torch takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import importlib, sys
command = importlib.import_module(sys.argv[1])
status = command.main(sys.argv[2:])
print(status, sorted({"torch", "diffusers", "transformers"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["family", "ladd", "baselines", "study"])
def test_a_mistyped_config_is_refused_before_torch_is_imported(command: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('nme = "mine"\n')
    options = ["--config", str(config), *(["--family", str(tmp_path)] if command != "family" else [])]
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"training.{command}.__main__", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "2 []\n", done.stderr
    assert "error: " in done.stderr
    assert "nme" in done.stderr
