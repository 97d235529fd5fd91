"""Which references a prompt gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.retriever import Calibration, Retriever, round_robin

KEYS = np.eye(6, dtype=np.float32)


def query(*weights: float) -> list[float]:
    values = np.array([*weights, *[0.0] * (6 - len(weights))])
    return list(values / np.linalg.norm(values))


def test_queries_take_turns_and_no_reference_comes_twice() -> None:
    queries = np.array([query(3, 2, 1), query(0, 0, 3, 2), query(0, 0, 3, 0, 1)], dtype=np.float32)
    got = Retriever(ExactIndex(KEYS), Calibration()).retrieve(queries, references=4)
    # Round one: 0, 2, (2 again); round two: 1, 3
    assert got.rows.tolist() == [0, 2, 1, 3]
    np.testing.assert_allclose(
        got.similarities, [3 / 14**0.5, 3 / 13**0.5, 2 / 14**0.5, 2 / 13**0.5], atol=1e-6
    )
    np.testing.assert_array_equal(got.weights, got.similarities)


def test_the_threshold_leaves_out_what_is_far() -> None:
    queries = np.array([query(3, 2, 1)], dtype=np.float32)
    got = Retriever(ExactIndex(KEYS), Calibration()).retrieve(queries, references=4, retrieval_threshold=0.5)
    assert got.rows.tolist() == [0, 1]


def test_the_calibration_decides_the_weights() -> None:
    queries = np.array([query(3, 2, 1)], dtype=np.float32)
    got = Retriever(ExactIndex(KEYS), Calibration(low=0.5, high=0.75)).retrieve(queries, references=3)
    assert got.weights.tolist() == [1.0, pytest.approx((2 / 14**0.5 - 0.5) * 4, abs=1e-5), 0.0]


def test_more_references_than_there_are_gives_all() -> None:
    queries = np.array([query(1), query(0, 1)], dtype=np.float32)
    got = Retriever(ExactIndex(KEYS), Calibration()).retrieve(queries, references=16, retrieval_threshold=-1)
    assert sorted(got.rows.tolist()) == list(range(6))


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000))
def test_round_robin_properties(queries: int, k: int, references: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = np.stack([random.permutation(8)[:k] for _ in range(queries)])
    similarities = -np.sort(-random.random((queries, k)).astype(np.float32), axis=1)
    rows, cosines = round_robin(ids, similarities, references)
    assert len(rows) == len(cosines) == min(references, len(np.unique(ids)))
    assert len(set(rows.tolist())) == len(rows)
    assert rows[0] == ids[0, 0]
    for row, cosine in zip(rows, cosines, strict=True):
        assert cosine in similarities[ids == row]
