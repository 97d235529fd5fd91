"""The library: written whole or not at all, read by many."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import InvalidInputError, OutputError, RetrievalError
from ragturbo_runtime.files import hash_file, replace_directory, write_bytes
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import write_library
from ragturbo_runtime.spaces import Spaces
from tests.nano.build_nano_bundle import reference_captions

ROOT = Path(__file__).resolve().parents[2]
SPACES = Spaces("1" * 64, "2" * 64)


def items(count: int, word: str = "x") -> list[LibraryItem]:
    return [
        LibraryItem(f"{word}-{i}", f"{word} {i}", word.encode() * 50, "here", "CC0-1.0") for i in range(count)
    ]


def arrays(count: int, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    keys = generator.standard_normal((count, 8), dtype=np.float32)
    return keys / np.linalg.norm(keys, axis=1, keepdims=True), generator.standard_normal((count, 4, 16))


@pytest.fixture(scope="session")
def nano_library(nano_bundle: Path) -> Iterator[Library]:
    part = Bundle.load(nano_bundle).manifest.library
    assert part is not None
    with contextlib.closing(Library(nano_bundle / part.directory)) as library:
        yield library


def test_the_nano_library_has_its_captions(nano_library: Library) -> None:
    captions = reference_captions()
    assert nano_library.count == len(captions) == 32
    assert (nano_library.embed_dim, nano_library.tokens, nano_library.channels) == (24, 16, 32)
    assert [record.caption for record in nano_library.records(range(32))] == captions
    assert [record.id for record in nano_library.records([5, 3])] == ["nano-05", "nano-03"]


def test_references_carry_their_picture(nano_library: Library) -> None:
    cosines, weights = np.array([0.5, 0.25], np.float32), np.array([0.5, 0.0], np.float32)
    first, second = nano_library.references([1, 0], cosines, weights)
    assert (first.row, first.caption, first.similarity, first.weight) == (1, "a red square", 0.5, 0.5)
    assert (second.source, second.licence) == ("drawn by a test", "CC0-1.0")
    image = Image.open(io.BytesIO(first.thumbnail()))
    assert image.size == (32, 32)
    assert image.getpixel((16, 16)) == (255, 0, 0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    keys, features = arrays(40)
    part = write_library(tmp_path / "library", items(40), keys, features, spaces=SPACES)
    assert (part.directory, part.count, part.key_dtype) == ("library", 40, "float16")
    for entry in part.files:
        path = tmp_path / entry.file
        assert (hash_file(path), path.stat().st_size) == (entry.sha256, entry.bytes)
    written = {
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "library").rglob("*") if path.is_file()
    }
    assert written == {entry.file for entry in part.files}
    library = Library(tmp_path / "library")
    ids, cosines = library.search(keys, 1)
    assert ids[:, 0].tolist() == list(range(40))
    np.testing.assert_allclose(cosines, 1, atol=2e-3)  # keys are float16
    decoded = library.features(range(40)).astype(np.float32) * library.scale
    np.testing.assert_allclose(decoded, features, atol=float(library.scale.max()) * 0.51)
    library.close()


def test_a_second_library_takes_the_place_of_the_first(tmp_path: Path) -> None:
    keys, features = arrays(5)
    write_library(tmp_path / "library", items(5, "old"), keys, features, spaces=SPACES)
    write_library(tmp_path / "library", items(3, "new"), keys[:3], features[:3], spaces=SPACES)
    library = Library(tmp_path / "library")
    assert [record.caption for record in library.records(range(3))] == ["new 0", "new 1", "new 2"]
    library.close()
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_threads_share_one_library(nano_library: Library) -> None:
    def look(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, 32, 4)
        captions = [record.caption for record in nano_library.records(rows)]
        return (
            captions == [reference_captions()[row] for row in rows]
            and len(nano_library.thumbnail(f"nano-{rows[0]:02d}")) > 0
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))


@pytest.mark.parametrize("row", [-1, 32])
def test_rows_out_of_range_are_refused(nano_library: Library, row: int) -> None:
    with pytest.raises(RetrievalError, match=rf"rows \[{row}\]: not in the library, which has 0 to 31"):
        nano_library.records([row])
    with pytest.raises(RetrievalError, match=rf"rows \[{row}\]: expected 0 to 31"):
        nano_library.features([row])


def test_a_picture_that_is_not_there_is_refused(nano_library: Library) -> None:
    with pytest.raises(RetrievalError, match="'nano-99': not in the library; it may have been removed"):
        nano_library.thumbnail("nano-99")


@pytest.mark.parametrize(("shape", "k"), [((2, 25), 4), ((24,), 4), ((2, 24), 0)])
def test_queries_of_another_shape_are_refused(nano_library: Library, shape: tuple[int, ...], k: int) -> None:
    with pytest.raises(InvalidInputError, match=r"expected \(Q, 24\) and 1 or more"):
        nano_library.search(np.zeros(shape, dtype=np.float32), k)


def test_a_closed_library_raises(tmp_path: Path) -> None:
    keys, features = arrays(5)
    write_library(tmp_path / "library", items(5), keys, features, spaces=SPACES)
    library = Library(tmp_path / "library")
    library.close()
    library.close()
    with pytest.raises(RetrievalError, match="the library was closed; open it again"):
        library.records([0])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("keys-000001.f16", None, "keys-000001.f16: cannot be read"),
        ("keys-000001.f16", bytes(14), "14 bytes, expected 80 = 5 rows of 16"),
        ("features-000001.i8", bytes(7), "7 bytes, expected 320 = 5 rows of 64"),
        ("features-000001.i8", None, "features-000001.i8: cannot be read"),
        ("records.sqlite", None, "records.sqlite: cannot be read"),
        ("records.sqlite", b"not a database, whatever its name says" * 100, "records.sqlite: cannot be read"),
        ("records.sqlite", b"", "records.sqlite: cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    keys, features = arrays(5)
    write_library(tmp_path / "library", items(5), keys, features, spaces=SPACES)
    if content is None:
        (tmp_path / "library" / file).unlink()
    else:
        (tmp_path / "library" / file).write_bytes(content)
    with pytest.raises(RetrievalError, match=message):
        Library(tmp_path / "library")


def test_inputs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    keys, features = arrays(5)
    with pytest.raises(InvalidInputError, match=r"4 items, keys \(5, 8\), features \(5, 4, 16\)"):
        write_library(tmp_path / "library", items(4), keys, features, spaces=SPACES)
    with pytest.raises(InvalidInputError, match="twice in the list: 'x-0'"):
        write_library(tmp_path / "library", [*items(4), items(1)[0]], keys, features, spaces=SPACES)
    features[2, 1, 3] = np.nan
    with pytest.raises(InvalidInputError, match="NaN or infinity"):
        write_library(tmp_path / "library", items(5), keys, features, spaces=SPACES)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    keys, features = arrays(5)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_library(tmp_path / "file" / "library", items(5), keys, features, spaces=SPACES)
    assert caught.value.path == tmp_path / "file" / "library"


WRITER = textwrap.dedent(
    """
    import itertools, pathlib, resource, sys
    import numpy as np
    from ragturbo_runtime.errors import OutputError
    from ragturbo_runtime.library.whole import write_library
    from tests.library.test_whole import SPACES, arrays, items
    folder, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write_library(folder, items(300, "new"), *arrays(300), spaces=SPACES)
        except OutputError as error:
            print("refused:", error)
        sys.exit()
    for number in itertools.count():
        word = "even" if number % 2 == 0 else "odd"
        write_library(folder, items(300, word), *arrays(300, seed=number % 2), spaces=SPACES)
        print(number, flush=True)
    """
)


def run_writer(folder: Path, *, limit: int = 0) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


@pytest.mark.skipif(os.name != "posix", reason="kill -9 and file size limits")
def test_a_killed_writer_leaves_a_whole_library(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    expected = {}
    for word, seed in (("even", 0), ("odd", 1)):
        write_library(tmp_path / word, items(300, word), *arrays(300, seed=seed), spaces=SPACES)
        with contextlib.closing(Library(tmp_path / word)) as library:
            expected[word] = library.features(range(300))
    delays = random.Random(0)
    for _ in range(4):
        with run_writer(folder) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            time.sleep(delays.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
        library = Library(folder)
        word = library.records([0])[0].caption.split()[0]
        assert all(record.caption.startswith(word) for record in library.records(range(300)))
        np.testing.assert_array_equal(library.features(range(300)), expected[word])
        library.close()
    write_library(folder, items(300), *arrays(300), spaces=SPACES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["even", "library", "odd"]


@pytest.mark.skipif(os.name != "posix", reason="kill -9 and file size limits")
@pytest.mark.parametrize("limit", [1_000, 10_000, 20_000])
def test_a_full_disk_leaves_the_old_library(tmp_path: Path, limit: int) -> None:
    folder = tmp_path / "library"
    write_library(folder, items(300, "old"), *arrays(300), spaces=SPACES)
    with run_writer(folder, limit=limit) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith(f"refused: {folder}: cannot be written (")
    with contextlib.closing(Library(folder)) as library:
        assert library.records([0])[0].caption == "old 0"
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_write_bytes_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match=r"taken: cannot be written \(.*\); choose a writable folder"):
        write_bytes(tmp_path / "taken", b"x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "absent" / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert write_bytes(tmp_path / "file", b"one").read_bytes() == b"one"
    assert write_bytes(tmp_path / "file", b"two").read_bytes() == b"two"


def test_ctrl_c_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was renamed is in its place: an error would send the caller looking for a file that is there."""
    synced = []

    def refuse(path: Path) -> None:
        synced.append(path)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("ragturbo_runtime.files.sync_directory", refuse)
    assert write_bytes(tmp_path / "file", b"x").read_bytes() == b"x"
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_directory(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]
    assert synced == [tmp_path, tmp_path]


def test_folders_are_replaced_without_the_linux_call_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragturbo_runtime.files._exchange", lambda first, second: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_directory(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "absent", tmp_path / "old")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]
