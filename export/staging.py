"""A folder that appears whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError
from ragturbo_runtime.files import replace_directory, sync_directory


@contextmanager
def staging(out: Path, *, kind: str, marker: str) -> Iterator[Path]:
    """Make a folder beside `out` that takes its place if all goes well, and is gone otherwise.

    Args:
        out: Where the folder will be. Empty, or one of the same kind, it is replaced.
        kind: What is made, for the message.
        marker: The file that every folder of that kind holds.

    Yields:
        The folder to write into.

    Raises:
        ExportError: `out` holds something else, or cannot be written.
    """
    if out.exists() and not (out / marker).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: exists and is no {kind}; choose another --out, or an empty folder")
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        folder.mkdir(parents=True)
        yield folder
        for path in folder.rglob("*"):
            if path.is_dir():
                sync_directory(path)
        sync_directory(folder)
        replace_directory(folder, out)
    except OSError as error:
        raise ExportError(f"{out}: cannot be written: {error}; choose a writable folder with room") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
