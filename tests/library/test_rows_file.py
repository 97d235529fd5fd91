"""Rows in files: what is read is what was written, and a prompt's few rows come quickly."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.rows_file import RowsFile, append_rows, map_rows, read_rows

ROW = np.dtype(("<i1", (16, 1280)))
"""A reference of SD-Turbo's width: 20,480 bytes."""
COUNT = 3000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "features.i8"
    rng = np.random.default_rng(0)
    for start in range(0, COUNT, 1000):
        append_rows(path, rng.integers(-127, 128, (1000, 16, 1280), dtype=np.int8), ROW, start)
    return path


@given(st.lists(st.integers(0, COUNT - 1), max_size=9))
def test_rows_are_read_as_they_were_written(file: Path, wanted: list[int]) -> None:
    rows = map_rows(file, ROW, COUNT, at_random=True)
    whole = np.fromfile(file, np.int8).reshape(COUNT, 16, 1280)
    read = read_rows(rows, np.array([wanted], np.int64))
    assert read.shape == (1, len(wanted), 16, 1280)
    np.testing.assert_array_equal(read[0], whole[wanted])


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_a_growing_file_is_read_to_where_it_is_counted(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    path, row = tmp_path_factory.mktemp("growing") / "keys.f16", np.dtype(("<f2", (3,)))
    whole = np.arange(41 * 3, dtype="<f2").reshape(41, 3)
    append_rows(path, whole[: counts[0]], row, 0)
    file, known = RowsFile(path, row, counts[0], at_random=False), counts[0]
    for count in sorted(counts):
        append_rows(path, whole[known : max(known, count)], row, known)
        known = max(known, count)
        np.testing.assert_array_equal(file.between(count // 2, count), whole[count // 2 : count])
        np.testing.assert_array_equal(file.first(count), whole[:count])
    with pytest.raises(RetrievalError, match="bytes, expected"):
        file.between(known - 1, known + 1) if known else file.first(1)


@pytest.mark.skipif(os.name != "posix", reason="an opened file cannot be deleted")
def test_an_opened_file_is_readable_when_a_compaction_has_deleted_it(tmp_path: Path) -> None:
    path, row = tmp_path / "keys.f16", np.dtype(("<f2", (3,)))
    append_rows(path, np.ones((5, 3), "<f2"), row, 0)
    file = RowsFile(path, row, 2, at_random=False)
    path.unlink()
    assert file.between(2, 5).sum() == file.first(5)[2:].sum() == 9


def forget(path: Path) -> None:
    """Let go of what the kernel keeps of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold_and_warm(path: Path, wanted: NDArray[np.int64]) -> tuple[float, float]:
    """Milliseconds of reading rows from the disk, and again."""
    forget(path)  # nobody may have it mapped
    rows, times = map_rows(path, ROW, COUNT, at_random=True), [time.perf_counter()]
    for _ in range(2):
        read_rows(rows, wanted)
        times.append(time.perf_counter())
    return 1000 * (times[1] - times[0]), 1000 * (times[2] - times[1])


@pytest.mark.quiet
@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the kernel cannot be told to forget a file")
def test_the_rows_of_a_prompt_come_quickly(file: Path) -> None:
    """Four references: under 2 ms from the disk, under 0.2 ms from memory (the median of forty)."""
    rng = np.random.default_rng(1)
    times = [cold_and_warm(file, rng.choice(COUNT, (1, 4), replace=False)) for _ in range(40)]
    cold, warm = np.median(times, axis=0)
    assert cold < 2
    assert warm < 0.2
