"""Copying a library, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from ragturbo_runtime.errors import OutputError
from ragturbo_runtime.files import sync_directory, sync_file
from ragturbo_runtime.library.database import open_for_reading
from ragturbo_runtime.library.layout import LOCK_FILE, RECORDS_FILE


def copy_library(folder: Path, target: Path) -> Path:
    """Copy a library that nobody changes meanwhile.

    Args:
        folder: The library.
        target: Where; nothing may be there yet. Folders above it are made.

    Returns:
        The target.

    Raises:
        OutputError: Something is there, or it cannot be written.
        RetrievalError: The library cannot be read.
    """
    if _is_there(target):
        raise OutputError(f"{target}: is there already", path=target, hint="choose another folder")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        made = [parent for parent in target.absolute().parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(folder, beside)
        os.rename(beside, target)  # fails where another has put something there meanwhile
        for parent in (target.absolute().parent, *(one.parent for one in made)):
            sync_directory(parent)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(
            f"{target}: cannot be written ({error})", path=target, hint="choose a writable folder with room"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _is_there(target: Path) -> bool:
    """Whether something is there; a name that no file can have is for the writing to complain of."""
    try:
        return target.exists()
    except OSError:
        return False


def _copy(folder: Path, beside: Path) -> None:
    """Copy the contents and not the rights: a copy of what may only be read may be written."""
    for path in (folder, *sorted(folder.rglob("*"))):
        copy = beside / path.relative_to(folder)
        if path.is_dir():
            copy.mkdir()
        elif not path.name.startswith(RECORDS_FILE) and path.name != LOCK_FILE:
            shutil.copyfile(path, copy)
            sync_file(copy)
    _copy_records(folder, beside)
    for path in (beside, *(path for path in beside.rglob("*") if path.is_dir())):
        sync_directory(path)


def _copy_records(folder: Path, beside: Path) -> None:
    """Copy by SQLite.

    A file that it has open in this process must not be opened and closed by anybody else: that would drop its locks
    (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    with (
        closing(open_for_reading(folder)) as records,
        closing(sqlite3.connect(beside / RECORDS_FILE)) as copy,
    ):
        records.backup(copy)
        copy.execute("PRAGMA journal_mode = WAL")
    sync_file(beside / RECORDS_FILE)
