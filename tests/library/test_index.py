"""Nearest neighbours: exact, and candidates of ScaNN that the stored keys rank."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index import cache, exact
from ragturbo_runtime.index.cache import build_index, open_index
from ragturbo_runtime.index.candidates import RankedIndex
from ragturbo_runtime.index.effort import choose_effort, sample_queries
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.index.partition import decoded, leaves_of
from ragturbo_runtime.index.scann_index import build_scann, load_scann
from ragturbo_runtime.library.key_rows import decode_keys, encode_keys
from ragturbo_runtime.library.layout import Layout

LAYOUT = Layout(1, 0, 0, 0, 32, 1, 1, "int8", "int8", np.ones(1, np.float32), None)


def unit_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def built(folder: Path, keys: NDArray[np.float32]) -> Layout:
    layout = replace(LAYOUT, rows=len(keys), indexed=len(keys))
    assert build_index(folder, layout, encode_keys(keys, "int8"), at_least=100) is not None
    return layout


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 20), st.integers(0, 100))
def test_exact_search_sorts_all_cosines(count: int, queries: int, k: int, seed: int) -> None:
    keys, asked = unit_vectors(count, 8, seed), unit_vectors(queries, 8, seed + 1)
    ids, cosines = ExactIndex(keys).search(asked, k)
    expected = asked @ keys.T
    order = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    assert ids.shape == cosines.shape == (queries, min(k, count))
    assert (ids.dtype, cosines.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(cosines, np.take_along_axis(expected, order, axis=1), atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), cosines, atol=1e-6)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 20), st.integers(0, 100))
def test_what_is_added_in_parts_is_searched_as_one(sizes: list[int], k: int, seed: int) -> None:
    keys = unit_vectors(sum(sizes), 8, seed)
    index, start = ExactIndex(keys[: sizes[0]]), sizes[0]
    for size in sizes[1:]:
        before = index
        index = index.extended(keys[start : start + size])
        assert before.count == start
        start += size
    queries = unit_vectors(3, 8, seed + 1)
    for ours, theirs in zip(index.search(queries, k), ExactIndex(keys).search(queries, k), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=50), st.integers(1, 60))
def test_removed_keys_are_never_found(alive: list[bool], k: int) -> None:
    keys, there = unit_vectors(len(alive), 8, 0), np.array(alive)
    rows, cosines = ExactIndex(keys).search(unit_vectors(2, 8, 1), k, there)
    assert rows.shape == (2, min(k, int(there.sum())))
    assert there[rows].all()
    assert np.isfinite(cosines).all()


def test_equal_keys_are_found_in_order() -> None:
    keys = np.tile(unit_vectors(1, 8, 0), (50, 1)).astype(np.float16)
    ids, _ = ExactIndex(keys).search(unit_vectors(3, 8, 1), 5)
    assert ids.tolist() == [[0, 1, 2, 3, 4]] * 3


@given(st.integers(1, 20), st.integers(1, 64), st.integers(0, 50))
def test_int8_keys_are_near_the_keys(count: int, width: int, seed: int) -> None:
    keys = unit_vectors(count, width, seed)
    rows = encode_keys(keys, "int8")
    assert rows.dtype.itemsize == width + 4
    assert np.abs(decode_keys(rows) - keys).max() <= rows["step"].max() * 0.51
    np.testing.assert_array_equal(encode_keys(decode_keys(rows), "int8")["values"], rows["values"])


def test_an_index_finds_nearly_all_and_ranks_by_the_stored_keys(tmp_path: Path) -> None:
    keys = unit_vectors(3_000, 32, 0)
    rows = encode_keys(keys, "int8")
    proposer = build_scann(decode_keys(rows), tmp_path)
    effort = choose_effort(proposer, rows, leaves_of(len(keys)))
    queries = sample_queries(rows, seed=1)
    found, cosines = RankedIndex(proposer, rows, effort.leaves).search(queries, 10)
    assert effort.recall >= 0.95
    assert recall_of(found, nearest(queries, decoded(rows), 10)) >= 0.9
    expected = np.einsum(
        "qe,qke->qk", queries, decode_keys(rows[found.ravel()]).reshape(len(queries), 10, -1)
    )
    np.testing.assert_allclose(cosines, expected, atol=1e-5)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_more_effort_is_spent_where_the_target_is_higher(tmp_path: Path) -> None:
    rows = encode_keys(unit_vectors(3_000, 32, 0), "int8")
    proposer = build_scann(decode_keys(rows), tmp_path)
    low, high = (choose_effort(proposer, rows, leaves_of(3_000), target=target) for target in (0.5, 0.99))
    assert low.leaves < high.leaves
    assert low.recall < high.recall


def test_where_the_nearest_were_removed_others_are_found(tmp_path: Path) -> None:
    """As many as were asked for, though the index proposes removed ones first."""
    keys = unit_vectors(2_000, 32, 0)
    rows = encode_keys(keys, "int8")
    index = RankedIndex(build_scann(decode_keys(rows), tmp_path), rows, 4)
    query = keys[:1]
    near = nearest(query, decoded(rows), 1_500)[0]
    alive = np.ones(len(keys), np.bool_)
    alive[near] = False
    found, cosines = index.search(query, 5, alive)
    assert len(set(found[0].tolist())) == 5
    assert alive[found].all()
    assert np.isfinite(cosines).all()


def test_a_moved_index_loads_and_holds_no_pickle(tmp_path: Path) -> None:
    keys = unit_vectors(500, 8, 0)
    build_scann(keys, tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert not list((tmp_path / "there").glob("*.pkl"))
    assert load_scann(tmp_path / "there").count == 500


def test_an_index_with_pickled_ids_is_refused(tmp_path: Path) -> None:
    build_scann(unit_vectors(500, 8, 0), tmp_path)
    (tmp_path / "scann_docids.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RetrievalError, match="holds pickled ids, which are never loaded"):
        load_scann(tmp_path)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="not a ScaNN index"):
        load_scann(tmp_path)


def test_scann_queries_of_another_width_are_refused(tmp_path: Path) -> None:
    proposer = build_scann(unit_vectors(500, 8, 0), tmp_path)
    with pytest.raises(RetrievalError, match=r"queries of shape \(2, 9\)"):
        proposer.propose(unit_vectors(2, 9, 1), 3, 1)


def test_a_small_library_is_searched_exactly(tmp_path: Path) -> None:
    keys = unit_vectors(300, 32, 0)
    assert open_index(tmp_path, built(tmp_path, keys), encode_keys(keys, "int8")) is None


@pytest.mark.parametrize("damage", ["none", "folder", "json", "count", "effort", "data"])
def test_an_index_that_cannot_be_read_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    monkeypatch.setattr(cache, "EXACT_BELOW", 10)
    keys = unit_vectors(300, 32, 0)
    layout = built(tmp_path, keys)
    folder = tmp_path / layout.index_folder
    about = folder / "index.json"
    if damage == "folder":
        shutil.rmtree(folder)
    elif damage == "json":
        about.write_text("{")
    elif damage == "count":
        about.write_text(about.read_text().replace('"count": 300', '"count": 299'))
    elif damage == "effort":
        about.write_text(about.read_text().replace('"effort": ', '"effort": 99'))
    elif damage == "data":
        (folder / "scann_config.pb").write_bytes(b"\xff" * 20)
    found = open_index(tmp_path, layout, encode_keys(keys, "int8"))
    assert (found is None) == (damage != "none")
    assert ("searching 300 keys exactly" in caplog.text) == (damage != "none")


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("count", [1, 700, 3000])
def test_the_product_in_pieces_is_the_product(queries: int, count: int) -> None:
    asked, keys = unit_vectors(queries, 128, 0), unit_vectors(count, 128, 1)
    product = exact.product(asked, np.ascontiguousarray(keys.T))
    assert product.shape == (queries, count)
    np.testing.assert_allclose(product, asked @ keys.T, atol=1e-6)
