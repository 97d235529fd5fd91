"""Which encoders a library's numbers come from, as the library itself says.

Keys of two text encoders, or features of two U-Nets, have the same shape and no common meaning: a library that
was taken from another bundle would open, be searched, and give wrong pictures without a word. So it carries the
identity of its encoders, beside its records, and a bundle opens only the library that was made for it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ragturbo_runtime.errors import RetrievalError

_SHOWN = 12
"""Hexadecimal digits of an id in a message; two ids never agree in so many by chance."""
_UNKNOWN = "key space unknown, h space unknown"


@dataclass(frozen=True)
class Spaces:
    """Hashes of the encoders, as in the manifest.

    Attributes:
        key_space_id: Of the text encoder that made the keys.
        h_space_id: Of what made the features: the U-Net's encoder, and at which timestep and with which text.
    """

    key_space_id: str
    h_space_id: str

    def __str__(self) -> str:
        """Return the start of both, for messages."""
        return f"key space {self.key_space_id[:_SHOWN]}, h space {self.h_space_id[:_SHOWN]}"


def write_spaces(records: sqlite3.Connection, spaces: Spaces) -> None:
    """Write the identity into a library's records.

    Args:
        records: An open records.sqlite without such a table; the caller commits.
        spaces: The encoders that keys and features come from.

    Raises:
        sqlite3.Error: The table cannot be written.
    """
    records.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    pairs = [("key_space_id", spaces.key_space_id), ("h_space_id", spaces.h_space_id)]
    records.executemany("INSERT INTO meta VALUES (?, ?)", pairs)


def read_spaces(records: sqlite3.Connection) -> Spaces | None:
    """Read the identity from a library's records.

    Args:
        records: An open records.sqlite.

    Returns:
        The encoders that keys and features come from, or None if the records do not say, as older ones do not.

    Raises:
        sqlite3.Error: The file is damaged.
    """
    if records.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        return None
    found = dict(records.execute("SELECT name, value FROM meta"))
    key_space_id, h_space_id = found.get("key_space_id"), found.get("h_space_id")
    if not isinstance(key_space_id, str) or not isinstance(h_space_id, str):
        return None
    return Spaces(key_space_id, h_space_id)


def require_spaces(found: Spaces | None, expected: Spaces, library: Path) -> None:
    """Refuse a library that was made for another bundle, or that does not say for which.

    Args:
        found: What the library says.
        expected: What the bundle's manifest says.
        library: The library's folder, for the message.

    Raises:
        RetrievalError: The two differ in either id.
    """
    if found != expected:
        raise RetrievalError(
            f"{library}: its keys and features are of {found or _UNKNOWN}, this bundle's are of {expected}",
            hint="build the library again for this bundle, with python -m export.onnx",
        )
