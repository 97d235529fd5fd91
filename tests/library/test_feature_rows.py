"""int8 features: their error, and reading rows from disk."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ragturbo_runtime.library.feature_rows import encode_int8, reference_tokens, scale_of

FEATURES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@given(FEATURES)
def test_the_round_trip_is_within_half_a_step(h: NDArray[np.float32]) -> None:
    scale = scale_of(h)
    error = np.abs(encode_int8(h, scale).astype(np.float32) * scale - h)
    assert (error <= scale * 0.5 * (1 + 1e-4)).all()
    assert (scale > 0).all()


@given(FEATURES)
def test_encoding_what_was_decoded_changes_nothing(h: NDArray[np.float32]) -> None:
    scale = scale_of(h)
    encoded = encode_int8(h, scale)
    np.testing.assert_array_equal(encode_int8(encoded * scale, scale), encoded)


@given(hnp.arrays(np.float32, (2, 3, 4, 6), elements=st.floats(-100, 100, width=32)), st.sampled_from([1, 2]))
def test_a_token_is_the_mean_of_its_square_of_cells(h: NDArray[np.float32], pool: int) -> None:
    tokens = reference_tokens(h, pool)
    assert tokens.shape == (2, 4 * 6 // pool**2, 3)
    for token in range(tokens.shape[1]):
        top, left = pool * (token // (6 // pool)), pool * (token % (6 // pool))
        cells = h[:, :, top : top + pool, left : left + pool]
        np.testing.assert_allclose(tokens[:, token], cells.mean(axis=(2, 3)), atol=1e-4)


def test_each_channel_uses_its_whole_range() -> None:
    h = np.random.default_rng(0).standard_normal((10, 6, 4)).astype(np.float32) * [1e-3, 1, 50, 0]
    encoded = encode_int8(h, scale_of(h))
    assert np.abs(encoded).max(axis=(0, 1)).tolist() == [127, 127, 127, 0]
    assert scale_of(h)[3] == 1


def test_values_beyond_the_scale_are_clipped() -> None:
    scale = np.ones(2, dtype=np.float32)
    assert encode_int8(np.array([[[1e9, -1e9]]]), scale).tolist() == [[[127, -127]]]
