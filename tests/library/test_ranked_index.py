"""What an index proposes is ranked by the stored keys, and looked through as far as it has to be.

The index here is exact in the parts that it looks through, so that what is found can be computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.index import effort as efforts
from ragturbo_runtime.index.candidates import RankedIndex
from ragturbo_runtime.index.effort import choose_effort, least_effort, sample_queries
from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.library.key_rows import KEY_DTYPES, KeyDtype, decode_keys, encode_keys

LEAVES = 20


def stored(count: int, dtype: KeyDtype = "int8", seed: int = 0) -> NDArray[Any]:
    values = np.random.default_rng(seed).standard_normal((count, 16), dtype=np.float32)
    return encode_keys(values / np.linalg.norm(values, axis=1, keepdims=True), dtype)


class PartsInTurn:
    """Row r is in part r modulo the number of parts; a search looks through the first of them."""

    def __init__(self, keys: NDArray[Any]) -> None:
        self.count = len(keys)
        self.asked: list[tuple[int, int]] = []
        self._keys = decode_keys(keys)

    def propose(self, queries: Keys, candidates: int, effort: int) -> NDArray[np.int64]:
        self.asked.append((candidates, effort))
        seen = np.flatnonzero(np.arange(self.count) % LEAVES < effort)
        order = np.argsort(-queries @ self._keys[seen].T, axis=1, kind="stable")[:, :candidates]
        proposed = np.full((len(queries), candidates), -1)
        proposed[:, : order.shape[1]] = seen[order][:, ::-1]
        return proposed


@pytest.mark.parametrize("dtype", KEY_DTYPES)
def test_all_parts_give_what_exact_search_gives(dtype: KeyDtype) -> None:
    rows = stored(400, dtype)
    queries = sample_queries(rows, 5)
    found, cosines = RankedIndex(PartsInTurn(rows), rows, LEAVES).search(queries, 7)
    true, expected = ExactIndex(decode_keys(rows)).search(queries, 7)
    assert found.dtype == np.int64
    assert cosines.dtype == np.float32
    np.testing.assert_array_equal(found, true)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "k", "asked"),
    [
        (1000, 1, (100, 2)),
        (1000, 25, (100, 2)),
        (1000, 26, (104, 2)),
        (101, 1, (100, 2)),
        (100, 1, (100, 100)),
    ],
)
def test_four_times_as_many_are_ranked_and_at_least_a_hundred(
    count: int, k: int, asked: tuple[int, int]
) -> None:
    rows = stored(count)
    proposer = PartsInTurn(rows)
    index = RankedIndex(proposer, rows, 2)
    assert (index.count, index.effort) == (count, 2)
    found, _ = index.search(sample_queries(rows, 3), k)
    assert proposer.asked[0] == asked
    assert found.shape == (3, k)


def test_more_are_asked_for_until_enough_are_there() -> None:
    """Two of twenty parts have 100 of the 1,000 keys."""
    rows = stored(1000)
    proposer = PartsInTurn(rows)
    index = RankedIndex(proposer, rows, 2, candidates=10)
    index.search(sample_queries(rows, 3), 1)
    assert proposer.asked == [(10, 2)]
    proposer.asked.clear()
    queries = sample_queries(rows, 3)
    found, _ = index.search(queries, 101)
    assert proposer.asked == [(404, 2), (1000, 1000)]
    np.testing.assert_array_equal(found, nearest(queries, [decode_keys(rows)], 101))


@pytest.mark.parametrize(("gone", "asked"), [(0, [5]), (4, [5]), (5, [5, 20]), (20, [5, 20, 80])])
def test_where_the_nearest_were_removed_more_are_asked_for(gone: int, asked: list[int]) -> None:
    rows = stored(1000)
    query = sample_queries(rows, 1)
    order = nearest(query, [decode_keys(rows)], 1000)[0]
    alive = np.ones(1000, np.bool_)
    alive[order[:gone]] = False
    proposer = PartsInTurn(rows)
    found, _ = RankedIndex(proposer, rows, LEAVES, candidates=5).search(query, 1, alive)
    assert proposer.asked == [(wanted, LEAVES) for wanted in asked]
    assert found.tolist() == [[order[gone]]]


def test_no_more_are_found_than_are_left() -> None:
    rows = stored(200)
    alive = np.zeros(200, np.bool_)
    alive[[3, 77, 199]] = True  # the last row's place is that of -1
    found, cosines = RankedIndex(PartsInTurn(rows), rows, 2).search(sample_queries(rows, 4), 9, alive)
    assert np.sort(found, axis=1).tolist() == [[3, 77, 199]] * 4
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_equal_keys_are_found_in_the_order_of_their_rows() -> None:
    rows = np.repeat(stored(1), 300)
    found, _ = RankedIndex(PartsInTurn(rows), rows, LEAVES).search(sample_queries(rows, 2), 4)
    assert found.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("leaves", "least"), [(1, 1), (3, 3), (4, 4), (5, 4), (639, 4), (640, 5), (793, 6), (12_800, 100)]
)
def test_some_parts_are_always_looked_through(leaves: int, least: int) -> None:
    assert least_effort(leaves) == least


@pytest.mark.parametrize(
    ("target", "tried"),
    [
        (0.0, [4]),
        (0.25, [4, 6]),
        (0.5, [4, 6, 9, 13]),
        (0.95, [4, 6, 9, 13, 19]),
        (1.0, [4, 6, 9, 13, 19, 20]),
    ],
)
def test_the_first_effort_that_reaches_the_target_is_chosen(target: float, tried: list[int]) -> None:
    """Of twenty parts in turn, e find e twentieths of the neighbours: 0.2, 0.3, 0.45, 0.65, 0.95, 1."""
    rows = stored(2_000)
    proposer = PartsInTurn(rows)
    chosen = choose_effort(proposer, rows, LEAVES, target=target)
    assert [effort for _, effort in proposer.asked] == tried
    assert chosen.leaves == tried[-1]
    queries = sample_queries(rows)
    found, _ = RankedIndex(proposer, rows, chosen.leaves).search(queries, 10)
    assert chosen.recall == recall_of(found, nearest(queries, [decode_keys(rows)], 10))
    assert chosen.recall == pytest.approx(chosen.leaves / LEAVES, abs=0.04)


def test_a_target_that_is_just_reached_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = stored(2_000)
    monkeypatch.setattr(efforts, "recall_of", lambda found, true: 0.97)
    assert choose_effort(PartsInTurn(rows), rows, LEAVES).leaves == 4


def test_queries_are_near_keys_of_their_own() -> None:
    rows = stored(1000)
    keys, queries = decode_keys(rows), sample_queries(rows)
    assert queries.shape == (256, 16)
    assert queries.dtype == np.float32
    assert queries.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    chosen = np.sort(np.random.default_rng(0).choice(1000, 256, replace=False))
    cosines = np.einsum("qe,qe->q", queries, keys[chosen])
    assert cosines.mean() == pytest.approx(0.9, abs=0.02)
    assert cosines.std() > 0.01  # the rest is not all at right angles to the key: it is drawn
    assert not np.array_equal(queries, sample_queries(rows, seed=1))
    np.testing.assert_array_equal(queries, sample_queries(rows))


@pytest.mark.parametrize(("count", "wanted", "made"), [(1000, 7, 7), (5, 7, 5), (256, 256, 256)])
def test_there_are_no_more_queries_than_keys(count: int, wanted: int, made: int) -> None:
    rows = stored(count)
    queries = sample_queries(rows, wanted)
    assert len(np.unique(nearest(queries, [decode_keys(rows)], 1))) >= made * 0.9
    assert len(queries) == made
