"""A hundred thousand pictures, four threads that search, and one that adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library_bench.changing import measure_while_adding
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.making import make_library


@pytest.mark.slow
def test_a_thousand_pictures_are_added_while_four_threads_search(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    make_library(folder, ClusteredKeys(100_000, 32, seed=0))
    added = np.concatenate(list(ClusteredKeys(1000, 32, seed=1).blocks()))
    queries = np.concatenate(list(ClusteredKeys(2000, 32, seed=2).blocks()))
    measured = measure_while_adding(folder, queries, added, threads=4)
    found = measured.as_dict()
    assert measured.errors == []
    assert (found["added"], found["late"]) == (1000, 0)
    assert found["adding_p99_ms"] < 2 * found["idle_p99_ms"], found
    assert list(verify_library(folder)) == []
