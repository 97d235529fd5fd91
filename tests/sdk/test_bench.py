"""The arithmetic of the bench, and that what it measures is what it says."""

from __future__ import annotations

import dataclasses

import pytest

from ragturbo_runtime.stopwatch import STAGES
from ragturbo_sdk import Generator, RetrievalError
from ragturbo_sdk.cli.bench import BenchReport, measure

ZERO = dict.fromkeys(STAGES, 0.0)


def test_overhead_is_paired() -> None:
    """A machine that slows down meets both sides; the medians alone would not see the constant 1 ms."""
    off = [10.0, 20.0, 30.0, 40.0, 1000.0]
    report = BenchReport(on_ms=[ms + 1.0 for ms in off], off_ms=off, stages_ms=ZERO)
    assert report.overhead == pytest.approx(1.0 / 30.0)
    assert report.as_dict()["retrieval_off"] == {"p50_ms": 30.0, "p95_ms": 808.0}


@pytest.mark.parametrize(
    ("added", "answer"),
    [([0.4, 0.5, 0.6] * 20, ": yes"), ([1.9, 2.0, 2.1] * 20, ": no"), ([0.1, 2.0] * 20, ": not certain")],
)
def test_the_verdict_is_honest(added: list[float], answer: str) -> None:
    off = [10.0] * len(added)
    report = BenchReport(on_ms=[a + b for a, b in zip(off, added, strict=True)], off_ms=off, stages_ms=ZERO)
    low, high = report.interval()
    assert low <= report.overhead <= high
    assert answer in report.as_text().splitlines()[-1]


def test_every_round_is_counted_and_the_warm_up_is_not(generator: Generator) -> None:
    report = measure(generator, rounds=4, warmup=2)
    assert len(report.on_ms) == len(report.off_ms) == 4
    assert all(ms > 0 for ms in (*report.on_ms, *report.off_ms))
    assert all(0 < ms < max(report.on_ms) for ms in report.stages_ms.values())


def test_nothing_to_compare_without_references(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    info = dataclasses.replace(generator.info, default_references=0)
    monkeypatch.setattr(generator, "_info", info)
    with pytest.raises(RetrievalError, match="looks nothing up"):
        measure(generator, rounds=1)
