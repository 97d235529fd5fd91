"""The paper's lambda, and the weight of the whole correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragturbo_runtime.reference_weights import outer_weight, reference_weights

WEIGHTS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8)


def test_default_bounds_are_the_papers() -> None:
    cosines = np.array([-0.5, 0.0, 0.3, 1.0, 1.0000001], dtype=np.float32)
    np.testing.assert_allclose(reference_weights(cosines), [0, 0, 0.3, 1, 1], atol=1e-6)


def test_calibration_spreads_bunched_cosines() -> None:
    weights = reference_weights(np.array([[0.91, 0.92, 0.93]]), low=0.91, high=0.93)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [[0, 0.5, 1]], atol=1e-5)


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_bounds_give_weights_in_the_cosines_order(cosines: list[float], low: float, high: float) -> None:
    low, high = sorted((low, high))
    assume(low < high)
    values = np.array(sorted(cosines))
    weights = reference_weights(values, low=low, high=high)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (np.diff(weights) >= 0).all()
    assert (weights[values <= low] == 0).all()
    assert (weights[values >= high] == 1).all()


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low is 0\.5, high is 0\.5: expected low < high"):
        reference_weights(np.zeros(1), low=0.5, high=0.5)


@given(st.floats(0, 1, width=32))
def test_one_reference_weighs_its_lambda(weight: float) -> None:
    assert outer_weight(np.array([weight], dtype=np.float32)) == pytest.approx(weight, rel=1e-6)


@given(WEIGHTS, st.integers(1, 5))
def test_references_of_weight_zero_change_nothing(weights: list[float], zeros: int) -> None:
    alone = outer_weight(np.array(weights, dtype=np.float32))
    np.testing.assert_allclose(
        outer_weight(np.array(weights + [0.0] * zeros, dtype=np.float32)), alone, rtol=1e-6
    )


@given(WEIGHTS)
def test_outer_weight_lies_between_zero_and_the_largest(weights: list[float]) -> None:
    value = float(outer_weight(np.array(weights, dtype=np.float32)))
    assert 0.0 <= value <= max(weights) * (1 + 1e-6)


def test_no_reference_weighs_nothing() -> None:
    assert outer_weight(np.zeros((3, 4))).tolist() == [0, 0, 0]
    assert outer_weight(np.zeros((2, 0))).tolist() == [0, 0]
