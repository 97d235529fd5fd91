"""How many cores a call takes, and whether one is left."""

from __future__ import annotations

import os

import pytest

from ragturbo_runtime.cores import busy_cores, leaves_no_core, usable_cores


@pytest.mark.parametrize(
    ("is_large", "threads", "cores", "busy", "none_left"),
    [
        (True, None, 8, 8, True),
        (True, 1, 8, 8, True),
        (False, None, 1, 1, True),
        (False, None, 2, 2, True),
        (False, None, 8, 2, False),
        (False, 1, 8, 1, True),
        (False, 4, 2, 2, True),
        (False, 4, 8, 2, False),
    ],
)
def test_a_small_models_graphs_keep_two_cores_busy(
    is_large: bool, threads: int | None, cores: int, busy: int, none_left: bool
) -> None:
    assert busy_cores(is_large, threads, cores) == busy
    assert leaves_no_core(is_large, threads, cores) is none_left


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_cores_that_were_taken_away_do_not_count() -> None:
    allowed = os.sched_getaffinity(os.getpid())
    try:
        os.sched_setaffinity(os.getpid(), {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(os.getpid(), allowed)
    assert usable_cores() == len(allowed)
