"""Several who use one library: threads, processes, and those who may only read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

import ragturbo_runtime.library.database as database
from ragturbo_runtime.errors import LibraryLockedError, OutputError, RagTurboError, RetrievalError
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.copying import copy_library
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import empty, pictures

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty(tmp_path / "library")


def in_another_process(program: str, folder: Path) -> None:
    words = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    subprocess.run(words, env=ENVIRONMENT, cwd=ROOT, check=True)


ADD = """
import sys
from pathlib import Path
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import pictures
with LibraryWriter(Path(sys.argv[1])) as writer:
    writer.add(*pictures(range(100, 101)))
    writer.remove(["p0"])
"""
KILLED = ADD + "    import os; os._exit(9)\n"


def count(folder: Path) -> int:
    with closing(Library(folder)) as library:
        return library.count


def test_what_a_killed_writer_acknowledged_is_seen_by_who_may_only_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last changes are still in SQLite's log; reading the records as immutable would pass over them."""
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
    with pytest.raises(subprocess.CalledProcessError):
        in_another_process(
            KILLED.replace("    import os", "    writer.add(*pictures(range(7, 9))); import os"), folder
        )
    assert (folder / "records.sqlite-wal").stat().st_size
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert count(folder) == 7  # five, one more, one less, two more


def test_a_log_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "records.sqlite-wal").write_bytes(b"x" * 100)

    def refuse(directory: Path, options: str) -> sqlite3.Connection:
        raise database.unreadable(directory, sqlite3.OperationalError("unable to open database file"))

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(database, "_connect", refuse)
    with pytest.raises(
        RetrievalError, match=r"its last changes are in records\.sqlite-wal; open it once"
    ) as raised:
        Library(folder)
    assert raised.value.hint is not None


def test_a_journal_that_a_killed_process_left_is_undone_by_the_next_reader(folder: Path) -> None:
    """A library of a bundle is in SQLite's older mode until it is first written."""
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
        writer.records.execute("PRAGMA journal_mode = DELETE")
    killed = """
    import os, sqlite3, sys
    records = sqlite3.connect(sys.argv[1] + "/records.sqlite", isolation_level=None)
    records.execute("PRAGMA cache_size = 1")
    records.execute("PRAGMA cache_spill = 1")
    records.execute("BEGIN IMMEDIATE")
    for number in range(200):
        records.execute("UPDATE thumbnails SET png = ?", [os.urandom(100_000)])
    os._exit(9)
    """
    with pytest.raises(subprocess.CalledProcessError):
        in_another_process(killed, folder)
    assert (folder / "records.sqlite-journal").stat().st_size
    assert list(verify_library(folder)) == []
    assert count(folder) == 5


def test_a_copy_leaves_the_locks_of_its_own_process_alone(folder: Path, tmp_path: Path) -> None:
    """A reader that is open while the library is copied still sees what another process writes afterwards."""
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
    with closing(Library(folder)) as library:
        assert library.count == 5
        copy_library(folder, tmp_path / "copy")
        in_another_process(ADD, folder)
        assert library.view.count == 5
        rows, _ = library.search(pictures(range(100, 101))[1], 1)
        assert library.records(rows[0])[0].id == "p100"
    assert count(tmp_path / "copy") == 5
    assert list(verify_library(tmp_path / "copy")) == []


def test_a_copy_of_what_may_only_be_read_may_be_written(folder: Path, tmp_path: Path) -> None:
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy_library(folder, tmp_path / "copy")
    folder.chmod(0o755)
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "copy", *(tmp_path / "copy").iterdir()))


def test_nothing_that_came_meanwhile_is_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who make a library in the same place at the same time: one is told, and nobody loses a picture."""
    made = tmp_path / "made"
    monkeypatch.setattr(Path, "exists", lambda self: False if self == made else os.path.exists(self))
    empty(made)
    with LibraryWriter(made) as writer:
        writer.add(*pictures(range(3)))
    with pytest.raises(OutputError, match="holds a library already"):
        empty(made)
    with pytest.raises(OutputError, match="cannot be written"):
        copy_library(folder, made)
    monkeypatch.undo()
    assert count(made) == 3


def test_verifying_while_others_change_finds_nothing_wrong(folder: Path) -> None:
    done, failed = threading.Event(), list[object]()

    def verify() -> None:
        while not done.is_set():
            failed.extend(verify_library(folder))

    thread = threading.Thread(target=verify)
    thread.start()
    try:
        with LibraryWriter(folder) as writer:
            for number in range(60):
                writer.add(*pictures(range(number, number + 1)))
                if number % 6 == 5:
                    writer.remove([f"p{number - 3}"])
                    compact(writer)
    finally:
        done.set()
        thread.join()
    assert failed == []


def test_a_library_that_lost_a_table_says_so(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "records.sqlite")) as records:
        records.execute("DROP TABLE removed")
    with pytest.raises(RetrievalError, match=r"records\.sqlite: cannot be read"):
        Library(folder)


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_any_folder_s_name_will_do(folder: Path, tmp_path: Path) -> None:
    for name in ("a b#c?d%20e", "ä\u2028", os.fsdecode(b"\xff\xfe"), "-"):
        other = Path(shutil.copytree(folder, tmp_path / name))
        with LibraryWriter(other) as writer:
            writer.add(*pictures(range(2)))
        assert count(other) == 2
    assert count(Path("/" + str(folder))) == 0


def test_a_reader_that_does_not_let_go_of_a_bundle_s_records_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
        writer.records.execute("PRAGMA journal_mode = DELETE")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with closing(database.open_for_reading(folder)) as records:
        reading = records.execute("SELECT * FROM records")
        reading.fetchone()
        with pytest.raises(LibraryLockedError, match="somebody reads it for a long time"):
            LibraryWriter(folder)
        reading.close()
    with LibraryWriter(folder):
        pass
    assert issubclass(LibraryLockedError, RagTurboError)
