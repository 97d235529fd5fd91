"""int8 features: their error, and reading rows from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.features import FeatureStore, encode_int8, reference_tokens, scale_of

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


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-127, 128, (20, 16, 32), dtype=np.int8)
    values.tofile(tmp_path / "features.i8")
    store = FeatureStore(tmp_path / "features.i8", count=20, tokens=16, channels=32)
    np.testing.assert_array_equal(store.read([19, 0, 7, 7]), values[[19, 0, 7, 7]])
    grid = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(store.read(grid), values[grid])
    assert store.read([]).shape == (0, 16, 32)
    rows = store.read([3])
    assert rows.flags.owndata
    assert rows.flags.c_contiguous


@pytest.mark.parametrize("row", [-1, 20])
def test_a_row_out_of_range_is_refused(tmp_path: Path, row: int) -> None:
    np.zeros((20, 4, 4), dtype=np.int8).tofile(tmp_path / "features.i8")
    store = FeatureStore(tmp_path / "features.i8", count=20, tokens=4, channels=4)
    with pytest.raises(RetrievalError, match=rf"rows \[0, {row}\]: expected 0 to 19"):
        store.read([0, row])


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.i8"
    path.write_bytes(bytes(100))
    with pytest.raises(RetrievalError, match="100 bytes, expected 320 = 20 x 4 x 4"):
        FeatureStore(path, count=20, tokens=4, channels=4)
    path.write_bytes(b"")
    with pytest.raises(RetrievalError, match="cannot be read"):
        FeatureStore(path, count=20, tokens=4, channels=4)
    with pytest.raises(RetrievalError, match="cannot be read"):
        FeatureStore(tmp_path / "absent", count=20, tokens=4, channels=4)
