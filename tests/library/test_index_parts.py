"""Exact search in parts, and what every index does alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index import exact, partition
from ragturbo_runtime.index.exact import ExactIndex, largest
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.index.partition import decoded, leaves_of, training_rows
from ragturbo_runtime.library.key_rows import decode_keys, encode_keys
from tests.library.test_index import unit_vectors


@settings(max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 30), st.integers(0, 100))
def test_the_nearest_in_blocks_are_the_nearest(sizes: list[int], k: int, seed: int) -> None:
    keys, queries = unit_vectors(sum(sizes), 8, seed), unit_vectors(4, 8, seed + 1)
    blocks = np.split(keys, np.cumsum(sizes)[:-1])
    expected = np.argsort(-(queries @ keys.T), axis=1, kind="stable")[:, :k]
    found = nearest(queries, iter(blocks), k)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_equal_keys_of_two_blocks_are_in_order() -> None:
    keys = np.tile(np.eye(1, 8, dtype=np.float32), (6, 1))
    assert nearest(keys[:1], [keys[:3], keys[3:]], 5).tolist() == [[0, 1, 2, 3, 4]]


def test_recall_is_the_share_of_the_true_ones_in_any_order() -> None:
    true = np.array([[1, 2], [3, 4]])
    assert recall_of(true[:, ::-1], true) == 1.0
    assert recall_of(np.array([[2, 9], [8, 7]]), true) == 0.25
    with pytest.raises(ValueError, match="zip"):
        recall_of(true[:1], true)


@pytest.mark.parametrize(
    ("count", "leaves"), [(0, 1), (1, 1), (3, 1), (4, 2), (99, 9), (100, 10), (630_000, 793)]
)
def test_an_index_has_as_many_parts_as_the_root_of_its_keys(count: int, leaves: int) -> None:
    assert leaves_of(count) == leaves


def test_few_keys_are_all_learned_from() -> None:
    assert np.array_equal(training_rows(3), [0, 1, 2])
    assert np.array_equal(training_rows(100_000), np.arange(100_000))


@pytest.mark.parametrize(("count", "learned"), [(100_001, 100_000), (1_500_000, 122_400)])
def test_of_many_some_are_learned_from_by_chance(count: int, learned: int) -> None:
    rows = training_rows(count)
    assert len(rows) == learned
    assert (np.diff(rows) > 0).all()
    assert (rows[0] >= 0, rows[-1] < count) == (True, True)
    assert rows.mean() == pytest.approx(count / 2, rel=0.01)
    np.testing.assert_array_equal(rows, training_rows(count))


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9])
def test_stored_keys_are_read_some_at_a_time(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_ROWS_AT_ONCE", 4)
    rows = encode_keys(unit_vectors(count, 8, 0), "int8")
    parts = list(decoded(rows))
    assert [len(part) for part in parts] == [min(4, count - start) for start in range(0, count, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), decode_keys(rows))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 20))
def test_the_largest_are_found_in_order(values: list[int], count: int) -> None:
    count = min(count, len(values))
    expected = sorted(range(len(values)), key=lambda at: (-values[at], at))[:count]
    found = largest(np.array(values, np.float32), count)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_two_who_add_to_the_same_keys_do_not_see_each_other() -> None:
    keys, first, second = (unit_vectors(count, 8, seed) for seed, count in enumerate((70, 3, 5)))
    base = ExactIndex(keys).extended(unit_vectors(1, 8, 9))  # now there is room behind
    ours, theirs = base.extended(first), base.extended(second)
    for index, added in ((ours, first), (theirs, second)):
        found, cosines = index.search(added, 1)
        assert found[:, 0].tolist() == list(range(71, 71 + len(added)))
        np.testing.assert_allclose(cosines, 1, atol=1e-6)
    assert base.count == 71
    assert ours.extended(second).search(second, 1)[0][:, 0].tolist() == list(range(74, 79))


@pytest.mark.parametrize(("start", "added", "room"), [(1, 1, 64), (60, 4, 80), (48, 3, 64), (100, 20, 150)])
def test_a_quarter_of_room_is_made_and_then_filled(start: int, added: int, room: int) -> None:
    index = ExactIndex(unit_vectors(start, 8, 0)).extended(unit_vectors(added, 8, 1))
    held = index._room.keys_t
    assert (held.shape, held.dtype) == ((8, room), np.float32)
    full = index.extended(unit_vectors(room - start - added, 8, 2))
    assert full._room.keys_t is held
    assert full.extended(unit_vectors(1, 8, 3))._room.keys_t is not held


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keys_that_are_not_finite_are_refused(value: float) -> None:
    keys = unit_vectors(3, 8, 0)
    index = ExactIndex(keys)
    keys[1, 1] = value
    for refuse in (ExactIndex, index.extended):
        with pytest.raises(RetrievalError) as caught:
            refuse(keys)
        assert str(caught.value) == "the library's keys hold NaN or infinity; build the library again"


def test_products_stay_small_enough_for_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole product of two queries with 1,000 keys of 16 numbers is 32,000 multiplications."""
    sizes: list[int] = []
    multiply = np.matmul

    def watched(rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> np.ndarray:
        sizes.append(len(rows) * columns.size)
        result: np.ndarray = multiply(rows, columns, out=out)
        return result

    monkeypatch.setattr(exact, "_SMALL_PRODUCT", 6_400)
    monkeypatch.setattr(np, "matmul", watched)
    exact.product(unit_vectors(1, 16, 0), unit_vectors(1000, 16, 1).T)
    assert sizes == [6_400] * 5
    sizes.clear()
    exact.product(unit_vectors(3, 16, 0), unit_vectors(300, 16, 1).T)
    assert sizes == [3 * 16 * 133] * 2 + [3 * 16 * 34]
