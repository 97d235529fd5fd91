"""The cores that a process has, and those that one call keeps busy."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process's main thread may use, whichever thread asks; 1 or more."""
    return len(os.sched_getaffinity(os.getpid())) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(is_large: bool, threads: int | None, cores: int) -> int:
    """Say how many cores one call's graphs keep busy: those of a small model two, hardly more.

    Args:
        is_large: Whether the model has gigabytes of weights.
        threads: Of each graph; None for one per core.
        cores: Of this machine.
    """
    return cores if is_large else min(threads or cores, cores, 2)


def leaves_no_core(is_large: bool, threads: int | None, cores: int) -> bool:
    """Say whether one call's graphs leave no core to work beside them.

    With one thread for each graph the host wants one for each call: other callers have the other cores.

    Args:
        is_large: As for ``busy_cores``, like the others.
        threads: As for ``busy_cores``.
        cores: As for ``busy_cores``.
    """
    return threads == 1 or busy_cores(is_large, threads, cores) == cores
