"""The index of faiss, which is optional, and which kind of index is built and read."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index import cache, kinds, partition
from ragturbo_runtime.index.cache import build_index, open_index, read_index_info
from ragturbo_runtime.index.candidates import RankedIndex
from ragturbo_runtime.index.effort import choose_effort, sample_queries
from ragturbo_runtime.index.kinds import INDEX_KINDS, IndexKind, build_proposer, is_installed, load_proposer
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.index.partition import decoded, leaves_of, training_rows
from ragturbo_runtime.library.key_rows import encode_keys
from ragturbo_runtime.library.layout import Layout

COUNT, WIDTH = 3_000, 32
LAYOUT = Layout(1, COUNT, COUNT, 0, WIDTH, 1, 1, "int8", "int8", np.ones(1, np.float32), None)


@pytest.fixture(params=INDEX_KINDS)
def kind(request: pytest.FixtureRequest) -> IndexKind:
    found: IndexKind = request.param
    if not is_installed(found):
        pytest.skip(f"{found} is not installed")
    return found


def stored(count: int = COUNT, width: int = WIDTH) -> NDArray[Any]:
    values = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    return encode_keys(values / np.linalg.norm(values, axis=1, keepdims=True), "int8")


def only(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    """As if nothing else was installed."""
    monkeypatch.setattr(kinds, "has_scann", lambda: "scann" in installed)
    monkeypatch.setattr(kinds, "has_faiss", lambda: "faiss" in installed)
    for name in {"scann", "faiss"} - set(installed):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("width", [WIDTH, 33])
def test_nearly_all_are_found_after_a_move(tmp_path: Path, kind: IndexKind, width: int) -> None:
    rows = stored(width=width)
    effort = choose_effort(build_proposer(kind, rows, tmp_path / "here"), rows, leaves_of(COUNT))
    shutil.move(tmp_path / "here", tmp_path / "there")
    proposer = load_proposer(kind, tmp_path / "there")
    assert proposer.count == COUNT
    queries = sample_queries(rows, seed=1)
    found, _ = RankedIndex(proposer, rows, effort.leaves).search(queries, 10)
    assert effort.recall >= 0.95
    assert recall_of(found, nearest(queries, decoded(rows), 10)) >= 0.9


def test_every_key_has_its_place_where_a_part_was_learned_from(
    tmp_path: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "_TRAINING", 700)
    monkeypatch.setattr(partition, "_PER_LEAF", 1)
    monkeypatch.setattr(partition, "_ROWS_AT_ONCE", 512)
    rows = stored()
    assert len(training_rows(COUNT)) == 700
    build_proposer(kind, rows, tmp_path / "index")
    index = RankedIndex(load_proposer(kind, tmp_path / "index"), rows, leaves_of(COUNT))
    found, cosines = index.search(np.concatenate(list(decoded(rows))), 1)
    assert (found[:, 0] == np.arange(COUNT)).mean() > 0.999
    np.testing.assert_allclose(cosines, 1, atol=0.02)


def test_all_are_found_where_as_many_are_asked_for(tmp_path: Path, kind: IndexKind) -> None:
    rows = stored(400)
    index = RankedIndex(build_proposer(kind, rows, tmp_path / "index"), rows, 2)
    found, _ = index.search(sample_queries(rows, 2), 400)
    assert (np.sort(found, axis=1) == np.arange(400)).all()


def test_queries_of_another_width_are_refused(tmp_path: Path, kind: IndexKind) -> None:
    proposer = build_proposer(kind, stored(400), tmp_path / "index")
    with pytest.raises(RetrievalError, match=r"refused queries of shape \(2, 9\)"):
        proposer.propose(np.ones((2, 9), np.float32), 3, 1)


def test_another_kind_of_index_or_none_is_refused(tmp_path: Path, kind: IndexKind) -> None:
    with pytest.raises(RetrievalError, match="index"):
        load_proposer(kind, tmp_path / "none")
    (tmp_path / "index.faiss").write_bytes(b"IxFI" + bytes(100))
    with pytest.raises(RetrievalError, match="index"):
        load_proposer(kind, tmp_path)


def test_a_flat_index_of_faiss_is_refused(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    faiss.serialize_index(faiss.IndexFlatIP(8)).tofile(tmp_path / "index.faiss")
    with pytest.raises(RetrievalError, match="a IndexFlatIP, expected an IndexIVFPQFastScan"):
        load_proposer("faiss", tmp_path)


def test_faiss_leaves_the_threads_of_a_host_alone(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        proposer = build_proposer("faiss", stored(400), tmp_path / "index")
        proposer.propose(np.ones((1, WIDTH), np.float32), 3, 1)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_the_kind_that_is_installed_is_built_and_read(
    tmp_path: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "EXACT_BELOW", 10)
    rows = stored()
    only(monkeypatch, kind)
    info = build_index(tmp_path, LAYOUT, rows, at_least=100)
    assert info == read_index_info(tmp_path, LAYOUT)
    assert info.kind == kind
    assert open_index(tmp_path, LAYOUT, rows) is not None
    assert not caplog.text


def test_where_the_other_kind_is_installed_all_is_searched_exactly(
    tmp_path: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "EXACT_BELOW", 10)
    rows = stored()
    only(monkeypatch, kind)
    build_index(tmp_path, LAYOUT, rows, at_least=100)
    for name in [name for name in sys.modules if name.split(".")[0] == kind]:
        monkeypatch.setitem(sys.modules, name, None)
    assert open_index(tmp_path, LAYOUT, rows) is None
    assert f"searching 3000 keys exactly: {kind} cannot be imported" in caplog.text


def test_nothing_is_built_where_neither_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    only(monkeypatch)
    assert build_index(tmp_path, LAYOUT, stored(), at_least=100) is None
    assert "3000 keys will be searched exactly: neither scann nor faiss is installed" in caplog.text


def test_an_index_of_an_unknown_kind_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "EXACT_BELOW", 10)
    folder = tmp_path / LAYOUT.index_folder
    folder.mkdir()
    about = {"kind": "annoy", "count": COUNT, "leaves": 54, "effort": 4, "recall": 1.0}
    (folder / "index.json").write_text(json.dumps(about))
    assert open_index(tmp_path, LAYOUT, stored()) is None
    assert "annoy" in caplog.text
