"""Retrieval costs less than a millisecond: the promise that makes it free."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import write_library
from ragturbo_runtime.retriever import Calibration, Retriever
from ragturbo_runtime.spaces import Spaces

COUNT, EMBED, TOKENS, CHANNELS = 3_000, 128, 64, 192  # the bundled family's sizes, or more


@pytest.mark.quiet
def test_search_records_and_features_take_less_than_a_millisecond(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keys = random.standard_normal((COUNT, EMBED), dtype=np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    features = random.standard_normal((COUNT, TOKENS, CHANNELS), dtype=np.float32)
    items = [LibraryItem(f"{i}", f"a picture of thing number {i}", bytes(3_000)) for i in range(COUNT)]
    spaces = Spaces("1" * 64, "2" * 64)
    write_library(tmp_path / "library", items, keys, features, spaces=spaces)
    with contextlib.closing(Library(tmp_path / "library")) as library:
        retriever = Retriever(library, Calibration())
        times = []
        for start in range(0, 300, 3):
            queries = keys[start : start + 3]  # a whole prompt and two phrases
            before = time.thread_time()  # the machine may be busy with something else
            got = retriever.retrieve(queries, references=4)
            library.references(got.rows, got.similarities, got.weights)
            read = library.features(got.rows)
            times.append(time.thread_time() - before)
            assert read.shape == (4, TOKENS, CHANNELS)
    assert statistics.median(times) < 1e-3
