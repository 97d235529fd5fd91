"""The records as several threads read them: one connection, one reader at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.database import needs_recovery, open_for_reading, recover, unreadable

_T = TypeVar("_T")


class SharedRecords:
    """A connection for reading, which undoes what a killed writer has left when it meets that."""

    def __init__(self, directory: Path) -> None:
        """Open the records.

        Args:
            directory: The library's folder.

        Raises:
            RetrievalError: There are no records, or they cannot be read.
        """
        self._directory = directory
        self._lock = threading.Lock()
        self._closed = False
        self._connection = open_for_reading(directory)

    def read(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        """Read with nobody else on the connection.

        Args:
            read: Gets the connection; it is called again after a recovery.

        Returns:
            What it returned.

        Raises:
            RetrievalError: The library was closed, or cannot be read.
        """
        try:
            with self._lock:
                if self._closed:
                    raise RetrievalError(f"{self._directory}: the library was closed", hint="open it again")
                try:
                    return read(self._connection)
                except sqlite3.Error as exc:
                    if not needs_recovery(exc):
                        raise
                    recover(self._directory)
                    return read(self._connection)
        except sqlite3.Error as exc:
            raise unreadable(self._directory, exc) from exc

    def close(self) -> None:
        """Close it; whoever reads now is waited for. Further reading raises."""
        with self._lock:
            self._closed = True
            self._connection.close()
