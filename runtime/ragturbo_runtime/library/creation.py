"""Making an empty library."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ragturbo_runtime.errors import OutputError
from ragturbo_runtime.files import sync_directory
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
    try:
        directory.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            with transaction(connection):
                for statement in SCHEMA:
                    connection.execute(statement)
                write_layout(connection, layout)
        finally:
            connection.close()
        sync_directory(directory)
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
