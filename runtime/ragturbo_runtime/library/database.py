"""The records of a library in SQLite: opening, reading, and what is checked on the way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from ragturbo_runtime.errors import LibraryLockedError, RetrievalError
from ragturbo_runtime.library.layout import (
    CHANGING,
    RECORDS_FILE,
    Layout,
    OtherFormatError,
    layout_from_meta,
    layout_to_meta,
    numbers_from_meta,
)
from ragturbo_runtime.library.record import LibraryItem

PAGE_BYTES = 65_536
"""A thumbnail of some kilobytes fills a quarter of a small page with nothing."""
BUSY_SECONDS = 30.0
VALUES_AT_ONCE = 500
"""In one query: SQLite allows 999."""
SCHEMA = (
    # crc: of the texts, the thumbnail, and the two rows in the files, see `checksum`
    "CREATE TABLE records (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, caption TEXT NOT NULL, "
    "source TEXT NOT NULL, licence TEXT NOT NULL, crc INTEGER NOT NULL)",
    # Beside the records, not in them: a look-up of captions then reads no pictures.
    "CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, png BLOB NOT NULL)",
    "CREATE TABLE removed (row INTEGER PRIMARY KEY)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL)",
)
_CHANGING = "WHERE name IN ({})".format(", ".join(f"'{name}'" for name in CHANGING))
_T = TypeVar("_T")
HINT = "build the library again, or take the folder from a copy"


def open_for_reading(directory: Path) -> sqlite3.Connection:
    """Open the records; any thread may use the connection.

    Args:
        directory: The library's folder.

    Returns:
        A connection. Where the folder cannot be written, nobody writes to it now: no lock is taken and no file made.

    Raises:
        RetrievalError: There is no folder, there are no records, or they cannot be read.
    """
    if not os.path.isdir(directory):  # which a name that is too long is not, either
        raise RetrievalError(f"{directory}: no such folder", hint="ragturbo library build makes one")
    if os.access(directory, os.W_OK):
        return _recovering(directory, lambda: _connect(directory, "mode=ro"))
    log = directory / f"{RECORDS_FILE}-wal"
    if os.path.exists(log) and os.path.getsize(log):  # neither minds a name that is too long
        return _with_log(directory)
    return _connect(directory, "mode=ro&immutable=1")


def open_for_writing(directory: Path) -> sqlite3.Connection:
    """Open the records to change them: transactions are begun by hand, and are on the disk when they return.

    Raises:
        RetrievalError: There are no records, or they cannot be read.
        LibraryLockedError: A reader does not let go of records that came from a bundle.
    """
    connection = _connect(directory, "mode=rw")
    try:
        # Readers then never wait for a writer, nor it for them. It stays so: switching back has moments in which a
        # killed writer leaves a journal that readers may not clean up.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as exc:
        connection.close()
        if "locked" in str(exc):
            raise LibraryLockedError(
                f"{directory}: somebody reads it for a long time, and it is written for the first time",
                hint="try again when they have done",
            ) from exc
        raise unreadable(directory, exc) from exc
    return connection


def close_after_writing(connection: sqlite3.Connection) -> None:
    """Close; leave all in one file, unless somebody reads right now."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 1000")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def recover(directory: Path) -> None:
    """Let SQLite finish or undo what a killed writer has begun, which a reader may not.

    Raises:
        RetrievalError: The records cannot be read.
    """
    _connect(directory, "mode=rw").close()


def needs_recovery(error: Exception) -> bool:
    """Whether a reader met what a killed writer has left."""
    return "readonly database" in str(error)


def _recovering(directory: Path, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    try:
        return connect()
    except RetrievalError as exc:
        if not needs_recovery(exc):
            raise
        recover(directory)
        return connect()


def _with_log(directory: Path) -> sqlite3.Connection:
    """Open records of which a part is in the log: somebody else writes now, or was killed."""
    try:
        return _connect(directory, "mode=ro")
    except RetrievalError as exc:
        raise RetrievalError(
            exc.message,
            hint=f"its last changes are in {RECORDS_FILE}-wal; open it once where it can be written",
        ) from exc


def _connect(directory: Path, options: str) -> sqlite3.Connection:
    path = directory / RECORDS_FILE
    try:
        with contextlib.ExitStack() as on_failure:
            connection = sqlite3.connect(
                f"{_uri(path)}?{options}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
                timeout=BUSY_SECONDS,
            )
            on_failure.callback(connection.close)
            _require_plain_tables(connection)
            connection.execute("SELECT row, id, caption, source, licence FROM records LIMIT 1").fetchone()
            on_failure.pop_all()
    except sqlite3.Error as exc:
        raise unreadable(directory, exc) from exc
    return connection


def _require_plain_tables(connection: sqlite3.Connection) -> None:
    """Refuse what computes when it is read, maybe without end: our records are tables and nothing else."""
    query = "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
    if (found := connection.execute(query).fetchone()) is not None:
        raise sqlite3.DatabaseError(f"holds a {found[0]}, {str(found[1])[:40]!r}, expected tables alone")


def _uri(path: Path) -> str:
    """Name a file as SQLite reads it, whatever letters are in its path."""
    absolute = path.absolute()
    if os.name == "posix":
        return f"file://{quote(os.fsencode(absolute))}"
    return f"file:{'' if absolute.as_posix().startswith('//') else '///'}{quote(absolute.as_posix())}"


def read_layout(connection: sqlite3.Connection, directory: Path) -> Layout:
    """Read what the records say of the folder.

    Args:
        connection: From one of the two above.
        directory: The folder, for messages.

    Returns:
        The layout.

    Raises:
        RetrievalError: They are damaged, or of another format.
    """
    return _from_meta(connection, directory, "", layout_from_meta)


def read_numbers(connection: sqlite3.Connection, directory: Path) -> tuple[int, int, int, int]:
    """Read what can change while a library is open: `CHANGING`; otherwise as `read_layout`."""
    return _from_meta(connection, directory, _CHANGING, numbers_from_meta)


def _from_meta(
    connection: sqlite3.Connection,
    directory: Path,
    which: str,
    parse: Callable[[dict[str, str | bytes]], _T],
) -> _T:
    try:
        return parse(dict(connection.execute(f"SELECT name, value FROM meta {which}")))
    except sqlite3.Error as exc:
        raise unreadable(directory, exc) from exc
    except OtherFormatError as exc:
        raise RetrievalError(f"{directory}: {exc}", hint=exc.hint) from exc
    except ValueError as exc:
        raise RetrievalError(f"{directory / RECORDS_FILE}: meta: {exc}", hint=HINT) from exc


def write_layout(connection: sqlite3.Connection, layout: Layout) -> None:
    """Write what the records say of the folder; the caller commits."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", layout_to_meta(layout).items())


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that differs when another connection has changed the records since."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def unreadable(directory: Path, exc: Exception) -> RetrievalError:
    """Make the error for records that SQLite cannot read."""
    return RetrievalError(f"{directory / RECORDS_FILE}: cannot be read ({exc})", hint=HINT)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Do all of it or nothing.

    Args:
        connection: Its transactions are begun by hand.
        kind: ``"IMMEDIATE"`` to write, ``"DEFERRED"`` to read one state.
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def checksum(item: LibraryItem, key: bytes, features: bytes) -> int:
    """Return the crc32 of all that is kept of a reference, each part with its length before it."""
    crc = 0
    texts = (item.id, item.caption, item.source, item.licence)
    for part in (*(text.encode() for text in texts), item.thumbnail, key, features):
        crc = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), crc))
    return crc
