"""Reads a text file of prompts."""

from __future__ import annotations

from pathlib import Path


def read_prompts(path: Path) -> list[str]:
    """Read a file of prompts, one a line; empty lines do not count.

    Raises:
        ValueError: There is none, or the file is no UTF-8.
        OSError: It is not there, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; a text file with one prompt a line is expected"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{path}: no prompt in it; write one a line")
    return prompts
