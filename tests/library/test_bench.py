"""The bench of libraries: what it makes, what it counts, what it refuses."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragturbo_runtime.errors import InvalidInputError, OutputError, RetrievalError
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library_bench import memory
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.searching import WARM_UP, search_apart
from ragturbo_sdk.cli.library_bench import measure

TIMES = ("add_s", "build_s", "open_s", "p50_ms", "p99_ms", "exact_p50_ms")


def test_a_small_library_is_measured_and_stays_where_it_was_asked_for(tmp_path: Path) -> None:
    report = measure(2_000, 64, seed=3, queries=100, directory=tmp_path / "library")
    found = json.loads(json.dumps(report.as_dict()))
    assert (found["keys"], found["dim"], found["seed"], found["queries"]) == (2_000, 64, 3, 100)
    assert found["index"] is None
    assert all(found[name] >= 0 for name in TIMES)
    assert found["p50_ms"] <= found["p99_ms"]
    assert found["recall_at_10"] >= 0.99
    assert found["disk_bytes"] == 2_000 * 64 * 2 < found["total_bytes"]
    assert [path.name for path in tmp_path.iterdir()] == ["library"]
    assert not list(verify_library(tmp_path / "library"))
    assert "none: every key is compared" in report.as_text()


def test_a_library_that_is_indexed(capfd: pytest.CaptureFixture[str]) -> None:
    report = measure(25_000, 64, queries=200)
    found = report.as_dict()
    assert found["index"]["kind"] in ("scann", "faiss")
    assert found["index"]["count"] == 25_000
    assert found["recall_at_10"] >= 0.95
    assert 25_000 * 68 < found["disk_bytes"] < 25_000 * 68 * 2
    assert "looks through" in report.as_text()
    assert "comparing with exact search" in capfd.readouterr().err


def test_the_same_seed_makes_the_same_library_and_finds_the_same() -> None:
    first, again, other = (measure(2_000, 16, seed=seed, queries=50).measured for seed in (7, 7, 8))
    assert first.searched.rows == again.searched.rows != other.searched.rows
    assert first.recall == again.recall


def test_keys_lie_in_clusters_and_queries_are_none_of_them() -> None:
    made = ClusteredKeys(20_000, 128, 5)
    keys = np.concatenate(list(made.blocks()))
    np.testing.assert_array_equal(keys, np.concatenate(list(made.blocks())))
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
    cosines = np.sort(made.queries(50) @ keys.T, axis=1)[:, ::-1]
    assert 0.5 < np.median(cosines[:, 10]) < 0.8
    assert cosines[:, 0].max() < 0.95
    assert np.median(cosines[:, 1_000]) < 0.4


@pytest.mark.parametrize(
    ("argument", "value"), [("keys", 99), ("keys", 10**9), ("dim", 1), ("seed", -1), ("queries", 0)]
)
def test_numbers_out_of_range_are_refused(argument: str, value: int) -> None:
    numbers: dict[str, Any] = {"keys": 200, "dim": 8, "seed": 0, "queries": 5, argument: value}
    with pytest.raises(InvalidInputError, match=f"{argument} is {value}|{argument}: {value}"):
        measure(numbers["keys"], numbers["dim"], seed=numbers["seed"], queries=numbers["queries"])


def test_a_folder_with_a_library_is_refused(tmp_path: Path) -> None:
    measure(200, 8, queries=1, directory=tmp_path / "library")
    with pytest.raises(OutputError, match="holds a library already"):
        measure(200, 8, queries=1, directory=tmp_path / "library")


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"are free, the library needs about 13,107,200\.0 MB"):
        measure(10**8, 1 << 16, directory=tmp_path / "library")
    assert not list(tmp_path.iterdir())


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match=r"searches it failed \(.*RetrievalError: .*no-library"):
        search_apart(tmp_path / "no-library", np.ones((1, 4), np.float32))
    assert not list(tmp_path.iterdir())


def test_the_process_finds_what_is_found_here(tmp_path: Path) -> None:
    measure(500, 16, queries=1, directory=tmp_path / "library")
    queries = ClusteredKeys(500, 16, 0).queries(WARM_UP + 20)
    searched = search_apart(tmp_path / "library", queries)
    library = Library(tmp_path / "library")
    rows, _ = library.search(queries[WARM_UP:], 10)
    library.close()
    assert searched.rows == rows.tolist()
    assert np.shape(searched.search_ms) == (3, 20)


def test_memory_is_counted_where_the_system_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = memory.resident_bytes()
    held = np.frombuffer(mmap.mmap(-1, 32 << 20), np.uint8)  # the heap may have as much left from other tests
    held[:] = 1
    after = memory.resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * held.nbytes
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    most = memory.resident_bytes()
    assert most is None or most > held.nbytes
