"""Writes a file whole or not at all: beside, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file through a neighbour that takes its place when it is complete.

    Args:
        path: The file; its folder is made.
        write: Writes to the path that it is given.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
