"""Peaks of memory: of the stage, not of the process, and never below what was in use when it began."""

from __future__ import annotations

import resource
from types import SimpleNamespace

import pytest
import torch

from training.ladd.peak_memory import PeakMemory

MEGABYTE = 1 << 20


def test_a_peak_counts_what_is_freed_and_ends_with_its_stage() -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = memory.start()
    filled = torch.ones(256 * MEGABYTE, dtype=torch.uint8)
    del filled
    assert memory.peak() - before > 128 * MEGABYTE
    assert memory.peak() >= memory.start() > 0


def test_a_kernel_that_counts_late_shows_no_peak_below_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = memory.start()
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=1))
    assert memory.peak() == before
