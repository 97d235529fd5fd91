"""Libraries of other formats are refused with the way out, and stay as they were: docs/compatibility.md says so."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.layout import FORMAT, RECORDS_FILE
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import empty, pictures

# The records of the first ragturbo-sdk 0.1.0, as they lay in its bundles.
FORMAT_1 = (
    "CREATE TABLE records (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, caption TEXT NOT NULL, "
    "source TEXT NOT NULL, licence TEXT NOT NULL)",
    "CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, png BLOB NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "INSERT INTO records VALUES (0, 'p0', 'a cat', 'drawn', 'CC0-1.0')",
    "INSERT INTO meta VALUES ('key_space_id', 'k'), ('h_space_id', 'h')",
)


def of_format_1(folder: Path) -> Path:
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
        for statement in FORMAT_1:
            records.execute(statement)
    (folder / "keys.f16").write_bytes(bytes(32))
    return folder


def of_format(folder: Path, number: int) -> Path:
    with LibraryWriter(empty(folder)) as writer:
        writer.add(*pictures(range(3)))
    with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
        records.execute("UPDATE meta SET value = ? WHERE name = 'format'", [str(number)])
    return folder


@pytest.mark.parametrize("use", [Library, LibraryWriter])
def test_the_first_format_is_told_how_to_become_this_one(tmp_path: Path, use: type) -> None:
    folder = of_format_1(tmp_path / "old")
    with pytest.raises(
        RetrievalError, match="the library's format is 1, this version of ragturbo reads 2"
    ) as caught:
        use(folder)
    assert caught.value.hint is not None
    assert "ragturbo library build" in caught.value.hint
    assert str(folder) in caught.value.message
    with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records:
        assert records.execute("SELECT caption FROM records").fetchall() == [("a cat",)]


@pytest.mark.parametrize("use", [Library, LibraryWriter])
def test_a_later_format_is_told_to_upgrade(tmp_path: Path, use: type) -> None:
    folder = of_format(tmp_path / "new", FORMAT + 1)
    with pytest.raises(
        RetrievalError, match=f"format is {FORMAT + 1}, this version of ragturbo reads {FORMAT}"
    ) as e:
        use(folder)
    assert e.value.hint == "upgrade ragturbo-sdk"


def test_verify_reports_another_format_as_what_it_is(tmp_path: Path) -> None:
    (problem,) = verify_library(of_format(tmp_path / "new", FORMAT + 1))
    assert "format is 3" in str(problem)


def test_damage_is_not_taken_for_age(tmp_path: Path) -> None:
    """Records that lost their format, and nothing else, were of this one."""
    folder = of_format(tmp_path / "library", FORMAT)
    with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
        records.execute("DELETE FROM meta WHERE name = 'format'")
    with pytest.raises(RetrievalError, match="format is None"):
        Library(folder)
