"""An index's files and what is said of them: whatever is not as it was written is not read, and says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index import cache, faiss_index, scann_index
from ragturbo_runtime.index.cache import (
    IndexInfo,
    build_index,
    load_index,
    open_index,
    read_index_info,
)
from ragturbo_runtime.index.effort import Effort
from ragturbo_runtime.index.fingerprints import fingerprints, require_fingerprints
from ragturbo_runtime.index.kinds import installed_kind
from ragturbo_runtime.library.key_rows import encode_keys
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.manifest_text import checksum
from tests.library.test_index import unit_vectors

LAYOUT = Layout(1, 300, 300, 0, 32, 1, 1, "int8", "int8", np.ones(1, np.float32), None)
ROWS = encode_keys(unit_vectors(300, 32, 0), "int8")
HINT = "ragturbo library compact builds it"
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
"""`printf hello | sha256sum`."""


def said(call: Callable[[], object], hint: str | None = None) -> str:
    with pytest.raises(RetrievalError) as caught:
        call()
    assert caught.value.hint == hint
    return caught.value.message


def describe(folder: Path, **changes: Any) -> None:
    """Write what an index without its own checksum says of itself."""
    about = {"kind": "scann", "count": 300, "leaves": 17, "effort": 4, "recall": 0.99}
    folder = folder / LAYOUT.index_folder
    folder.mkdir(exist_ok=True)
    (folder / "index.json").write_text(json.dumps({**about, **changes}))


def test_files_have_their_hashes_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(b"hello")
    assert list(fingerprints(tmp_path).items()) == [("a", HELLO), ("b", HELLO)]


def test_files_that_are_not_what_was_written_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "about"):
        (tmp_path / name).write_bytes(b"hello")
    expected = {"a": HELLO, "b": HELLO}
    require_fingerprints(tmp_path, expected, but="about")

    def strange(but: str = "about") -> str:
        return said(lambda: require_fingerprints(tmp_path, expected, but=but))

    assert strange("b") == f"{tmp_path / 'about'}: missing, or not a file of the index"
    (tmp_path / "b").write_bytes(b"hellO")
    assert strange() == f"{tmp_path / 'b'}: is not what was written (its sha256 is another)"
    (tmp_path / "b").unlink()
    assert strange() == f"{tmp_path / 'b'}: missing, or not a file of the index"
    (tmp_path / "b").mkdir()
    assert strange() == f"{tmp_path / 'b'}: is not what was written (its sha256 is another)"
    folder = tmp_path / "absent"
    found = said(lambda: require_fingerprints(folder, expected, but="about"))
    assert found == f"{folder}: cannot be read ([Errno 2] No such file or directory: {str(folder)!r})"


def test_what_is_built_says_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert build_index(tmp_path, LAYOUT, ROWS, at_least=301) is None
    assert not list(tmp_path.iterdir())
    info = build_index(tmp_path, LAYOUT, ROWS, at_least=300)
    assert info is not None
    folder = tmp_path / LAYOUT.index_folder
    assert list(tmp_path.iterdir()) == [folder]
    assert info == read_index_info(tmp_path, LAYOUT)
    assert (info.kind, info.count, info.leaves) == (installed_kind(), 300, 17)
    assert info.effort >= 4
    assert 0.95 <= info.recall <= 1
    assert info.recall == round(info.recall, 4)
    assert info.files == {name: text for name, text in fingerprints(folder).items() if name != "index.json"}
    text = (folder / "index.json").read_text()
    about = json.loads(text)
    assert text == json.dumps(about, indent=2) + "\n"
    assert about == {**asdict(info), "checksum": checksum(asdict(info))}
    assert load_index(folder, info).count == 300
    assert not caplog.text


def test_an_index_that_finds_too_little_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "choose_effort", lambda *_: Effort(17, 0.87654))
    info = build_index(tmp_path, LAYOUT, ROWS, at_least=1)
    assert info is not None
    assert (info.effort, info.recall) == (17, 0.8765)
    assert caplog.messages == ["the index finds 0.877 of the neighbours, expected 0.97 or more"]


def test_nothing_is_left_of_an_index_that_could_not_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(cache, "replace_directory", fail)
    with pytest.raises(OSError, match="the disk is full"):
        build_index(tmp_path, LAYOUT, ROWS, at_least=1)
    assert not list(tmp_path.iterdir())


def test_an_index_is_opened_from_so_many_keys_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    info = build_index(tmp_path, LAYOUT, ROWS, at_least=1)
    assert info is not None
    monkeypatch.setattr(cache, "EXACT_BELOW", 301)
    assert open_index(tmp_path, LAYOUT, ROWS) is None
    monkeypatch.setattr(cache, "EXACT_BELOW", 300)
    opened = open_index(tmp_path, LAYOUT, ROWS)
    assert opened is not None
    assert (opened.count, opened.effort) == (300, info.effort)
    assert not caplog.text
    caplog.set_level(logging.WARNING)
    (tmp_path / LAYOUT.index_folder / "index.json").unlink()
    assert open_index(tmp_path, LAYOUT, ROWS) is None
    [line] = caplog.messages
    assert line.startswith(f"{tmp_path}: searching 300 keys exactly: {tmp_path / LAYOUT.index_folder}")


def test_a_layout_without_an_index_has_none(tmp_path: Path) -> None:
    describe(tmp_path)
    found = said(lambda: read_index_info(tmp_path, replace(LAYOUT, indexed=0)), HINT)
    assert found == f"{tmp_path}: no index was built"


def test_an_index_from_before_there_were_hashes_is_read(tmp_path: Path) -> None:
    describe(tmp_path)
    assert read_index_info(tmp_path, LAYOUT) == IndexInfo("scann", 300, 17, 4, 0.99, None)
    describe(tmp_path, effort=17, kind="faiss")
    assert read_index_info(tmp_path, LAYOUT) == IndexInfo("faiss", 300, 17, 17, 0.99, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "annoy"},
        {"count": 299},
        {"effort": 18},
        {"effort": 0},
        {"effort": True},
        {"leaves": 17.0},
        {"count": None},
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, changes: dict[str, Any]) -> None:
    describe(tmp_path, **changes)
    info = IndexInfo(**{"kind": "scann", "count": 300, "leaves": 17, "effort": 4, "recall": 0.99, **changes})
    found = said(lambda: read_index_info(tmp_path, LAYOUT), HINT)
    assert found == f"{tmp_path / LAYOUT.index_folder / 'index.json'}: says {info}, expected 300 keys"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "pop"),
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ('{"kind": "scann"}', "missing 4 required"),
        ('{"kind": "scann", "checksum": "x"}', "its checksum is another"),
        ('{"files": {}}', "its checksum is another"),
        ('{"files": {}, "checksum": "x"}', "its checksum is another"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str, why: str) -> None:
    describe(tmp_path)
    path = tmp_path / LAYOUT.index_folder / "index.json"
    path.write_text(text)
    found = said(lambda: read_index_info(tmp_path, LAYOUT), HINT)
    assert found.startswith(f"{path}: cannot be read (")
    assert why in found


def test_an_index_of_another_size_is_refused(tmp_path: Path) -> None:
    info = build_index(tmp_path, LAYOUT, ROWS, at_least=1)
    assert info is not None
    folder = tmp_path / LAYOUT.index_folder
    found = said(lambda: load_index(folder, replace(info, count=299)), HINT)
    assert found == f"{folder}: 300 keys, index.json says 299"
    unhashed = replace(info, files=None)
    (folder / "more").touch()
    assert load_index(folder, unhashed).count == 300
    assert said(lambda: load_index(folder, info)) == f"{folder / 'more'}: missing, or not a file of the index"


def test_keys_that_scann_puts_elsewhere_are_noticed() -> None:
    class Elsewhere:
        def reserve(self, count: int) -> None:
            assert count == 300

        def upsert(self, rows: list[int | None], keys: np.ndarray, count: int) -> list[int]:
            assert rows == [*range(200), *[None] * 100]
            assert keys.shape == (300, 32)
            return [*range(299), 7][:count]

    found = said(
        lambda: scann_index._put(Elsewhere(), ROWS, 200), "install the scann that this ragturbo asks for"
    )
    assert found == "ScaNN put keys 0 to 299 elsewhere"


@pytest.mark.parametrize(
    ("load", "name"), [(scann_index.load_scann, "ScaNN"), (faiss_index.load_faiss, "faiss")]
)
def test_a_folder_without_an_index_is_refused(
    tmp_path: Path, load: Callable[[Path], object], name: str
) -> None:
    pytest.importorskip(name.lower())
    found = said(lambda: load(tmp_path), "build the index again from the library's keys")
    assert found.startswith(f"{tmp_path}: not a {name} index (")


def test_pickled_ids_are_not_loaded(tmp_path: Path) -> None:
    pytest.importorskip("scann")
    (tmp_path / "scann_docids.pkl").touch()
    found = said(lambda: scann_index.load_scann(tmp_path), "build the index again")
    assert found == f"{tmp_path}: holds pickled ids, which are never loaded"
