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
        try:
            write(beside)
        except Exception as error:
            if not _is_about_the_disk(error):
                raise
            raise OSError(
                f"{path}: cannot be written ({_first_line(error)}); what was there is as it was; make room, and run "
                "the same command again"
            ) from error
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _is_about_the_disk(error: Exception) -> bool:
    """PyTorch and safetensors have errors of their own for a disk that takes no more."""
    return isinstance(error, OSError) or any(
        sign in str(error) for sign in ("inline_container", "PytorchStreamWriter", "I/O error")
    )


def _first_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason.splitlines()[0][:200] if reason else type(error).__name__
