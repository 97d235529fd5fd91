"""Making an empty library: the folder has records or has none, whenever the process is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from ragturbo_runtime.errors import OutputError
from ragturbo_runtime.files import sync_directory, sync_file
from ragturbo_runtime.library.database import PAGE_BYTES, SCHEMA, transaction, write_layout
from ragturbo_runtime.library.layout import RECORDS_FILE, Layout


def create_library(directory: Path, layout: Layout) -> None:
    """Make a folder with records and no rows.

    Args:
        directory: It is made; it must hold no library.
        layout: With 0 rows.

    Raises:
        OutputError: The folder cannot be written, or has records in it.
    """
    path = directory / RECORDS_FILE
    beside = directory / f".{RECORDS_FILE}.{secrets.token_hex(4)}.partial"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_records(beside, layout)
        _put(beside, path)
        sync_directory(directory)
        sync_directory(directory.absolute().parent)
    except FileExistsError as exc:
        raise OutputError(
            f"{directory}: holds a library already",
            path=directory,
            hint="add to it, or choose another folder",
        ) from exc
    except (OSError, sqlite3.Error) as exc:
        raise OutputError(
            f"{directory}: cannot be written ({exc})",
            path=directory,
            hint="choose a writable folder with room",
        ) from exc
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _put(beside: Path, path: Path) -> None:
    """Give the file its name, if nobody else has given that to another meanwhile."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        beside.rename(path)


def _write_records(path: Path, layout: Layout) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            for statement in SCHEMA:
                connection.execute(statement)
            write_layout(connection, layout)
    finally:
        connection.close()
    sync_file(path)
