"""Nearest neighbours: exact, and ScaNN against exact."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragturbo_runtime import index as index_module
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index import ExactIndex, ScannIndex, build_scann_index, open_index


def unit_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 20), st.integers(0, 100))
def test_exact_search_sorts_all_cosines(count: int, queries: int, k: int, seed: int) -> None:
    keys, asked = unit_vectors(count, 8, seed), unit_vectors(queries, 8, seed + 1)
    ids, cosines = ExactIndex(keys).search(asked, k)
    expected = asked @ keys.T
    order = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    assert ids.shape == cosines.shape == (queries, min(k, count))
    np.testing.assert_allclose(cosines, np.take_along_axis(expected, order, axis=1), atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), cosines, atol=1e-6)


def test_equal_keys_are_found_in_order() -> None:
    keys = np.tile(unit_vectors(1, 8, 0), (50, 1)).astype(np.float16)
    ids, _ = ExactIndex(keys).search(unit_vectors(3, 8, 1), 5)
    assert ids.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_scann_equals_exact_on_a_small_library(tmp_path: Path) -> None:
    keys = unit_vectors(500, 32, 0).astype(np.float16)
    scann = ScannIndex.load(build_scann_index(keys, tmp_path / "scann"))
    queries = unit_vectors(40, 32, 1)
    ids, cosines = scann.search(queries, 10)
    exact_ids, exact_cosines = ExactIndex(keys).search(queries, 10)
    np.testing.assert_array_equal(ids, exact_ids)
    np.testing.assert_allclose(cosines, exact_cosines, atol=1e-5)
    assert (ids.dtype.name, cosines.dtype.name) == ("int64", "float32")


def test_scann_never_returns_more_than_there_are(tmp_path: Path) -> None:
    scann = ScannIndex.load(build_scann_index(unit_vectors(3, 8, 0), tmp_path / "scann"))
    ids, _ = scann.search(unit_vectors(2, 8, 1), 10)
    assert sorted(ids[0].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("tree_from", [10**9, 0], ids=["quantised", "tree"])
def test_the_indexes_of_large_libraries_find_nearly_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree_from: int
) -> None:
    monkeypatch.setattr(index_module, "BRUTE_FORCE_BELOW", 100)
    monkeypatch.setattr(index_module, "_TREE_FROM", tree_from)
    keys = unit_vectors(2_000, 32, 0)
    queries = keys[:100] + 0.05 * unit_vectors(100, 32, 2)
    found = open_index(keys, build_scann_index(keys, tmp_path / "scann"))
    assert isinstance(found, ScannIndex)
    exact_ids, _ = ExactIndex(keys).search(queries, 4)
    ids, cosines = found.search(queries.astype(np.float32), 4)
    recall = np.mean(
        [len(set(a) & set(b)) / 4 for a, b in zip(ids.tolist(), exact_ids.tolist(), strict=True)]
    )
    assert recall > (0.9 if tree_from else 0.6)
    np.testing.assert_array_equal(ids[:, 0], np.arange(100))
    np.testing.assert_allclose(cosines[:, 0], (queries @ keys.T).max(axis=1), atol=1e-3)


def test_a_moved_index_loads_and_holds_no_pickle(tmp_path: Path) -> None:
    keys = unit_vectors(50, 8, 0)
    build_scann_index(keys, tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert not list((tmp_path / "there").glob("*.pkl"))
    ids, _ = ScannIndex.load(tmp_path / "there").search(keys, 1)
    assert ids[:, 0].tolist() == list(range(50))


def test_an_index_with_pickled_ids_is_refused(tmp_path: Path) -> None:
    folder = build_scann_index(unit_vectors(50, 8, 0), tmp_path / "scann")
    (folder / "scann_docids.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RetrievalError, match="holds pickled ids, which are never loaded"):
        ScannIndex.load(folder)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="not a ScaNN index"):
        ScannIndex.load(tmp_path)


def test_scann_queries_of_another_width_are_refused(tmp_path: Path) -> None:
    scann = ScannIndex.load(build_scann_index(unit_vectors(50, 8, 0), tmp_path / "scann"))
    with pytest.raises(RetrievalError, match=r"queries of shape \(2, 9\)"):
        scann.search(unit_vectors(2, 9, 1), 3)


def test_a_small_library_is_searched_exactly(tmp_path: Path) -> None:
    keys = unit_vectors(50, 8, 0)
    assert isinstance(open_index(keys, build_scann_index(keys, tmp_path / "scann")), ExactIndex)


def test_a_large_library_without_index_is_searched_exactly_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index_module, "BRUTE_FORCE_BELOW", 10)
    found = open_index(unit_vectors(50, 8, 0), tmp_path / "absent")
    assert isinstance(found, ExactIndex)
    assert "searching 50 keys exactly" in caplog.text


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("count", [1, 700, 3000])
def test_the_product_in_pieces_is_the_product(queries: int, count: int) -> None:
    asked, keys = unit_vectors(queries, 128, 0), unit_vectors(count, 128, 1)
    product = index_module._product(asked, np.ascontiguousarray(keys.T))
    assert product.shape == (queries, count)
    np.testing.assert_allclose(product, asked @ keys.T, atol=1e-6)
