"""Thousands of pictures do not make the process grow."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ragturbo_sdk import CancelToken, GenerationCancelledError, Generator

PICTURES = int(os.environ.get("RAGTURBO_SOAK_PICTURES", "800"))
"""So few that the suite stays short; 10,000 (the variable) take three minutes of two cores."""
BATCH, THREADS = 4, 2
MIB = 2**20


def draw(generator: Generator, call: int) -> None:
    """One call: every fifth is cancelled on its way, and prompts change so that caches fill."""
    token = CancelToken()
    cancel = token.cancel if call % 5 == 4 else lambda: None
    prompts = [f"a red apple left of {number} things" for number in range(call * BATCH, (call + 1) * BATCH)]
    try:
        generator.generate(
            prompts,
            seed=call,
            cancel=token,
            progress=lambda told: cancel() if told.stage == "unet_encoder" else None,
        )
    except GenerationCancelledError:
        assert call % 5 == 4


@pytest.mark.slow
def test_memory_does_not_grow() -> None:
    """What the second half of the calls adds is noise; a leak of a picture (12 KiB) each would be seen."""
    process, sizes = psutil.Process(), []
    with Generator(device="cpu", threads=1) as generator, ThreadPoolExecutor(THREADS) as pool:
        quarter = PICTURES // BATCH // 4
        for part in range(4):
            list(pool.map(lambda call: draw(generator, call), range(part * quarter, (part + 1) * quarter)))
            for _ in range(20):
                generator.clone().close()
            sizes.append(process.memory_info().rss)
    grown = sizes[3] - sizes[1]
    assert grown < max(8 * MIB, PICTURES // 2 * 6 * 1024), [size // MIB for size in sizes]
