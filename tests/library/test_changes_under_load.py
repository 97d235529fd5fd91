"""A hundred thousand pictures, four threads that search without a pause, and one that adds a thousand more."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.indexing.encoder import BATCH_PIXELS
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.making import make_library
from tests.library.changing import Changing, measure_while_adding

pytestmark = [pytest.mark.slow, pytest.mark.quiet]

ENCODED_PER_SECOND = 100.0
"""What two cores encode of the small emoji family (docs/library.md): pictures do not come faster than that."""
AT_ONCE = BATCH_PIXELS // 64**2
"""Pictures of its size that ``generator.library.add`` encodes, and then adds, together."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "library"
    make_library(folder, ClusteredKeys(100_000, 32, seed=0))
    return folder


def adding(made: Path, folder: Path, at_once: int, per_second: float) -> Changing:
    """Add to a copy; whatever the pace, nobody may notice more than the time."""
    shutil.copytree(made, folder)
    added = np.concatenate(list(ClusteredKeys(1000, 32, seed=1).blocks()))
    queries = np.concatenate(list(ClusteredKeys(2000, 32, seed=2).blocks()))
    measured = measure_while_adding(folder, queries, added, threads=4, at_once=at_once, per_second=per_second)
    assert measured.errors == []
    assert (len(measured.add_ms), measured.late) == (math.ceil(1000 / at_once), 0)
    assert list(verify_library(folder)) == []
    return measured


def test_searches_hardly_notice_pictures_that_come_as_they_are_encoded(made: Path, tmp_path: Path) -> None:
    """The slowest searches may have met something else of this machine: up to three tries."""
    ratios: list[float] = []
    while len(ratios) < 3 and min(ratios, default=math.inf) >= 2:
        folder = tmp_path / f"library-{len(ratios)}"
        found = adding(made, folder, AT_ONCE, ENCODED_PER_SECOND).as_dict()
        ratios.append(found["adding_p99_ms"] / found["idle_p99_ms"])
    assert min(ratios) < 2, ratios


def test_pictures_that_come_one_by_one_as_fast_as_the_disk_takes_them_are_found_at_once(
    made: Path, tmp_path: Path
) -> None:
    """No limit for the time: 500 changes a second keep the disk and one of two cores busy (docs/library.md)."""
    adding(made, tmp_path / "library", 1, math.inf)
