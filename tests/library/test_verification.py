"""A damaged library is never read as a whole one: verify finds every bit, and opening says what is wrong."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragturbo_runtime.errors import RagTurboError, RetrievalError
from ragturbo_runtime.library.layout import RECORDS_FILE
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import empty, key_of, pictures

COUNT = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = empty(tmp_path_factory.mktemp("verified") / "library")
    with LibraryWriter(folder) as writer:
        writer.add(*pictures(range(COUNT)))
        writer.remove(["p3"])
    assert not list(verify_library(folder))
    return folder


@contextlib.contextmanager
def copied(whole: Path):
    copy = whole.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    yield copy


def use(folder: Path) -> None:
    """Read everything as a host does; only errors of ours may come out of it."""
    with contextlib.suppress(RagTurboError), contextlib.closing(Library(folder)) as library:
        rows, _ = library.search(key_of(5)[None], 4)
        for record in library.records(rows[0]):
            library.thumbnail(record.id)
        assert np.isfinite(library.features(rows[0]).astype(np.float32) * library.scale).all()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["keys-000001.i8", "features-000001.i8"]), st.integers(0, 10**6), st.integers(0, 7))
def test_one_flipped_bit_of_a_row_is_found(whole: Path, file: str, place: int, bit: int) -> None:
    with copied(whole) as folder:
        data = bytearray((folder / file).read_bytes())
        row_bytes = len(data) // COUNT
        place %= len(data)
        data[place] ^= 1 << bit
        (folder / file).write_bytes(data)
        problems = list(verify_library(folder))
        damaged = f"p{place // row_bytes}"
        assert [problem.id for problem in problems] == ([] if damaged == "p3" else [damaged])
        use(folder)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 7))
def test_a_flipped_bit_of_the_records_never_ends_in_a_traceback(whole: Path, place: int, bit: int) -> None:
    with copied(whole) as folder:
        path = folder / RECORDS_FILE
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        for problem in verify_library(folder):
            assert problem.cure
        use(folder)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["keys-000001.i8", "features-000001.i8", RECORDS_FILE]), st.floats(0, 0.999))
def test_a_truncated_file_is_found(whole: Path, file: str, share: float) -> None:
    with copied(whole) as folder:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(share * len(data))])
        assert list(verify_library(folder))
        use(folder)


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=30),
    st.binary(max_size=70),
)
NAMES = (
    *("format", "generation", "rows", "indexed", "version", "embed_dim", "tokens", "channels"),
    *("key_dtype", "feature_codec", "scale", "key_space_id", "h_space_id"),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES), VALUES)
def test_meta_of_any_kind_is_refused_or_harmless(whole: Path, name: str, value: object) -> None:
    with copied(whole) as folder:
        with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                records.execute("UPDATE meta SET value = ? WHERE name = ?", [value, name])
        list(verify_library(folder))
        use(folder)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["row", "id", "caption", "source", "licence", "crc"]), st.integers(0, COUNT), VALUES)
def test_records_of_any_kind_are_refused_or_harmless(
    whole: Path, column: str, row: int, value: object
) -> None:
    with copied(whole) as folder:
        changed = False
        with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                before = records.execute(f"SELECT {column} FROM records WHERE row = ?", [row]).fetchone()
                records.execute(f"UPDATE records SET {column} = ? WHERE row = ?", [value, row])
                after = records.execute("SELECT count(*) FROM records WHERE row = ?", [row]).fetchone()
                changed = before is not None and (
                    after[0] == 0
                    or records.execute(f"SELECT {column} FROM records WHERE row = ?", [row]).fetchone()
                    != before
                )
        assert bool(list(verify_library(folder))) == changed
        use(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "two", "format is 'two', expected 2 to 65536; build the library again"),
        ("rows", "99", r"keys-000001\.i8: 240 bytes, expected 1980 = 99 rows of 20"),
        ("indexed", "13", r"indexed is 13, expected at most rows \(12\)"),
        ("embed_dim", "0", "embed_dim is '0', expected 1 to 65536"),
        ("key_dtype", "float64", "key_dtype is 'float64', expected float16 or int8"),
        ("scale", b"123", "scale is missing, or no row of float32"),
        ("scale", bytes(64), "scale holds a number that is not positive"),
        ("channels", "17", "scale has 16 numbers, expected 17"),
    ],
)
def test_what_is_wrong_is_named(whole: Path, name: str, value: object, message: str) -> None:
    with copied(whole) as folder:
        with contextlib.closing(sqlite3.connect(folder / RECORDS_FILE)) as records, records:
            records.execute("UPDATE meta SET value = ? WHERE name = ?", [value, name])
        with pytest.raises(RetrievalError, match=message):
            Library(folder)
