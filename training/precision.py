"""Chooses the number format that is fast where the training runs."""

from __future__ import annotations

import time
from functools import cache

import torch


def autocast(device: str | torch.device = "cpu") -> torch.autocast:
    """A context for the forward pass: bfloat16 where it is faster, plain float32 elsewhere.

    CPUs with AMX multiply bfloat16 several times as fast as float32, others at half the speed, so it is measured.
    """
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16_is_faster(device))


def bf16_is_faster(device: str | torch.device = "cpu") -> bool:
    """Whether `autocast` uses bfloat16 here."""
    return torch.device(device).type != "cpu" or _bfloat16_wins()


@cache
def _bfloat16_wins() -> bool:
    return _seconds(torch.bfloat16) < 0.8 * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    left = torch.ones(768, 768, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(left, left)
        best = min(best, time.perf_counter() - start)
    return best
