"""How search grows with a library: the numbers, the model and the plots of docs/library.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export.library_plots import main
from export.library_scaling.model import cost, extrapolate
from ragturbo_runtime.index.candidates import CANDIDATES

SMALL = ["--sizes", "1000", "20000", "21000", "--dim", "16", "--queries", "20", "--model", "200000"]


def test_numbers_and_plots_are_written(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--work", str(tmp_path), *SMALL]) == 0
    document = json.loads((tmp_path / "library.json").read_text())
    assert [size["keys"] for size in document["sizes"]] == [1_000, 20_000, 21_000]
    assert [sweep["keys"] for sweep in document["sweeps"]] == [20_000, 21_000]
    assert {point["candidates"] for point in document["sweeps"][0]["points"]} >= {CANDIDATES}
    assert document["model"]["keys"] == 200_000
    plots = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.svg"))
    assert plots == ["library/recall.svg", "library/size.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["library", "library.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "1000", "30000"], "the last two 20000 or more"),
        (["--sizes", "30000", "20000", "40000"], "expected rising numbers"),
        (["--queries", "0"], "--queries 1 or more"),
        (["--model", "600000"], "--model the last size or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["--out", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_model_finds_what_times_are_made_of() -> None:
    def search_ms(keys: int, effort: int) -> float:
        return float(np.dot(cost(keys, effort), (0.1, 1e-4, 2e-5)))

    sweeps = [
        {
            "keys": keys,
            "points": [
                {"candidates": CANDIDATES, "effort": effort, "p50_ms": search_ms(keys, effort)}
                for effort in (1, 4, 16, 64)
            ],
        }
        for keys in (40_000, 640_000)
    ]
    size = {
        "keys": 640_000, "index": {"effort": 8, "leaves": 800}, "p50_ms": search_ms(640_000, 8) + 0.03,
        "p99_ms": search_ms(640_000, 8) + 0.53, "exact_p50_ms": 400.0, "disk_bytes": 10**9,
        "total_bytes": 10**9, "rss_bytes": None, "open_s": 1.0,
    }  # fmt: skip
    found = extrapolate(2_560_000, [size], sweeps)
    assert [found[name] for name in ("fixed_us", "per_part_ns", "per_key_ns")] == [130.0, 100.0, 20.0]
    assert found["effort"] == 16
    assert found["p50_ms"] == pytest.approx(search_ms(2_560_000, 16) + 0.03, abs=0.006)
    assert found["p99_ms"] == pytest.approx(found["p50_ms"] + 0.5, abs=0.011)
    assert (found["exact_p50_ms"], found["disk_bytes"]) == (1600.0, 4 * 10**9)
    assert "rss_bytes" not in found
