"""A library that others read while it changes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.errors import InvalidInputError, LibraryLockedError, OutputError, RetrievalError
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.opened import Library, StaleViewError
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import empty, features_of, key_of, pictures

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty(tmp_path / "library")


@pytest.fixture
def writer(folder: Path) -> Iterator[LibraryWriter]:
    with LibraryWriter(folder) as writer:
        yield writer


def found(library: Library, number: int) -> str:
    """The caption nearest to a picture's key."""
    rows, _ = library.search(key_of(number)[None], 1)
    return library.records(rows[0])[0].caption


@pytest.mark.skipif(os.name != "posix", reason="fork and kill -9")
def test_a_killed_writer_leaves_every_acknowledged_change_and_no_half_one(tmp_path: Path) -> None:
    words = ["-m", "tests.library.killed_writer", str(tmp_path / "library"), "200", "0"]
    process = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    killed = json.loads(process.stdout)
    assert sum(killed.values()) == 200
    assert min(killed["add"], killed["remove"], killed["compact"]) >= 5


def test_what_is_added_is_found_at_once(folder: Path, writer: LibraryWriter) -> None:
    with closing(Library(folder)) as library:
        assert library.count == 0
        assert library.search(key_of(0)[None], 4)[0].shape == (1, 0)
        for number in range(40):
            writer.add(*pictures(range(number, number + 1)))
            assert library.count in (number, number + 1)
            assert found(library, number) == f"picture {number}"
        assert library.count == 40
        np.testing.assert_allclose(library.features([7])[0] * library.scale, features_of(7), atol=0.026)
        assert library.thumbnail("p7") == b"png 7" * 20


def test_what_is_removed_is_not_found(folder: Path, writer: LibraryWriter) -> None:
    writer.add(*pictures(range(10)))
    with closing(Library(folder)) as library:
        view = library.view
        assert writer.remove(["p3", "p4", "p3"]) == 2
        assert found(library, 3) != "picture 3"
        assert (library.count, view.count) == (8, 10)
        with pytest.raises(StaleViewError):
            library.records([3], view)
        with pytest.raises(RetrievalError, match="'p3': not in the library"):
            library.thumbnail("p3")
    writer.add(*pictures(range(3, 4)))
    with closing(Library(folder)) as library:
        assert found(library, 3) == "picture 3"


def test_a_view_stays_whole_through_a_compaction(folder: Path, writer: LibraryWriter) -> None:
    writer.add(*pictures(range(20)))
    with closing(Library(folder)) as library:
        before = library.view
        writer.remove([f"p{number}" for number in range(0, 20, 2)])
        compact(writer)
        assert sorted(path.name for path in folder.glob("keys-*")) == ["keys-000002.i8"]
        np.testing.assert_allclose(before.features([19])[0] * library.scale, features_of(19), atol=0.026)
        with pytest.raises(StaleViewError):
            library.records([19], before)
        assert library.consistent(lambda view: library.records([9], view))[0].caption == "picture 19"
        assert [found(library, number) for number in (1, 19)] == ["picture 1", "picture 19"]
        assert (library.view.layout.rows, library.view.alive) == (10, None)
    assert not list(verify_library(folder))


def test_a_library_that_changes_at_every_look_is_given_up(folder: Path, writer: LibraryWriter) -> None:
    writer.add(*pictures(range(2)))

    def always_stale(view: object) -> None:
        raise StaleViewError("changed")

    with closing(Library(folder)) as library:
        with pytest.raises(RetrievalError, match="changed while it was read, 5 times; try again"):
            library.consistent(always_stale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items, keys, features: (items[:1], keys, features), r"1 items, keys \(2, 16\)"),
        (lambda items, keys, features: (items, keys[:, :8], features), r"expected 1 or more, \(N, 16\)"),
        (lambda items, keys, features: (items, keys, features[:, :2]), r"\(N, 4, 16\)"),
        (lambda items, keys, features: ([], keys[:0], features[:0]), "0 items"),
        (lambda items, keys, features: (items, keys * np.nan, features), "NaN or infinity"),
        (lambda items, keys, features: (items, keys, features + np.inf), "NaN or infinity"),
        (lambda items, keys, features: ([items[0]] * 2, keys, features), "twice in the list: 'p5'; remove"),
        (lambda items, keys, features: (pictures(range(1, 3))[0], keys, features), "already, .*: 'p1', 'p2'"),
    ],
)
def test_what_cannot_be_added_changes_nothing(writer: LibraryWriter, change, message: str) -> None:
    writer.add(*pictures(range(3)))
    with pytest.raises(InvalidInputError, match=message):
        writer.add(*change(*pictures(range(5, 7))))
    assert writer.layout.rows == 3
    assert not list(verify_library(writer.directory))


def test_nothing_is_removed_if_one_is_not_there(writer: LibraryWriter) -> None:
    writer.add(*pictures(range(3)))
    with pytest.raises(InvalidInputError, match="not in the library: 'x'; nothing was removed"):
        writer.remove(["p1", "x"])
    assert writer.known(["p0", "p1", "x"]) == {"p0", "p1"}


def test_there_is_one_writer(folder: Path) -> None:
    code = textwrap.dedent(
        """
        import pathlib, sys
        from ragturbo_runtime.library.writer import LibraryWriter
        with LibraryWriter(pathlib.Path(sys.argv[1])):
            print("writing", flush=True)
            sys.stdin.read()
        """
    )
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        with pytest.raises(
            LibraryLockedError, match=r"another process is writing to this library.*; wait for it"
        ):
            LibraryWriter(folder)
        with closing(Library(folder)) as library:
            assert library.count == 0
        other.communicate("")
    with LibraryWriter(folder):
        with pytest.raises(LibraryLockedError, match="this process is writing"):
            LibraryWriter(folder)
    LibraryWriter(folder).close()


def test_another_process_sees_every_change(folder: Path, writer: LibraryWriter) -> None:
    code = textwrap.dedent(
        """
        import pathlib, sys
        from ragturbo_runtime.library.opened import Library
        from tests.library.made import key_of
        library = Library(pathlib.Path(sys.argv[1]))
        for line in sys.stdin:
            rows, _ = library.search(key_of(int(line))[None], 1)
            print(library.count, *[record.id for record in library.records(rows[0])], flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def ask(number: int) -> str:
            print(number, file=reader.stdin, flush=True)
            return reader.stdout.readline().strip()

        assert ask(5) == "0"
        writer.add(*pictures(range(10)))
        assert ask(5) == "10 p5"
        writer.remove(["p4"])
        compact(writer)
        assert ask(5) == "9 p5"
        writer.add(*pictures(range(10, 20)))
        assert ask(15) == "19 p15"
        reader.stdin.close()


def test_many_threads_search_while_one_writes(folder: Path, writer: LibraryWriter) -> None:
    """Nobody ever sees a torn row: what the nearest key says is what the record says."""
    writer.add(*pictures(range(50)))
    stop, failures = threading.Event(), []
    with closing(Library(folder)) as library:

        def look(seed: int) -> None:
            rng = np.random.default_rng(seed)
            while not stop.is_set():
                number = int(rng.integers(0, 50))

                def read(view, number=number) -> None:
                    row = int(view.search(key_of(number)[None], 1)[0][0, 0])
                    record = library.records([row], view)[0]
                    decoded = view.features([row])[0] * view.layout.scale
                    own = int(record.id[1:])
                    assert np.abs(decoded - features_of(own)).max() <= 0.026
                    assert record.caption == f"picture {own}"

                try:
                    library.consistent(read)
                except Exception as error:
                    failures.append(repr(error))
                    return

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for start in range(100, 200, 5):
            writer.add(*pictures(range(start, start + 5)))
            writer.remove([f"p{start}", f"p{start + 1}"])
            if start % 20 == 0:
                compact(writer)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert library.count == 110


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
@pytest.mark.parametrize("limit", [2_000, 20_000, 100_000])
def test_a_full_disk_changes_nothing(folder: Path, limit: int) -> None:
    code = textwrap.dedent(
        """
        import pathlib, resource, sys
        from ragturbo_runtime.errors import OutputError
        from ragturbo_runtime.library.writer import LibraryWriter
        from tests.library.made import pictures
        with LibraryWriter(pathlib.Path(sys.argv[1])) as writer:
            writer.add(*pictures(range(10)))
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
            for start in range(10, 10_000, 200):
                try:
                    writer.add(*pictures(range(start, start + 200)))
                except OutputError as error:
                    print(writer.layout.rows, error)
                    break
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(limit)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    rows, message = process.stdout.split(" ", 1)
    assert "cannot be written" in message
    assert "nothing was changed; make room on the disk" in message
    with closing(Library(folder)) as library:
        assert library.count == int(rows)
    assert not list(verify_library(folder))
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(20_000, 20_010)))
    assert not list(verify_library(folder))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_read(folder: Path) -> None:
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with closing(Library(folder)) as library:
            assert found(library, 3) == "picture 3"
        with pytest.raises(OutputError, match=r"cannot be written .*; copy it to a writable folder"):
            LibraryWriter(folder)
    finally:
        folder.chmod(stat.S_IRWXU)


def test_reading_makes_nothing_but_what_writers_share(folder: Path) -> None:
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(5)))
    before = sorted(path.name for path in folder.iterdir())
    assert before == ["features-000001.i8", "keys-000001.i8", "records.sqlite", "writer.lock"]
    with closing(Library(folder)) as library:
        assert found(library, 3) == "picture 3"
    made = {path.name for path in folder.iterdir()} - set(before)
    assert made <= {"records.sqlite-shm", "records.sqlite-wal"}  # which SQLite shares with who writes
    assert all(path.stat().st_size == 0 for path in folder.glob("*-wal"))


def test_a_folder_without_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="absent: no such folder; ragturbo library build makes one"):
        LibraryWriter(tmp_path / "absent")
    with pytest.raises(RetrievalError, match=r"records\.sqlite: cannot be read"):
        LibraryWriter(tmp_path)
    with pytest.raises(OutputError, match="holds a library already"):
        empty(empty(tmp_path / "made"))
