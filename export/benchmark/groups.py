"""Which workers are alive together: all of them, or as many as fit into the memory, ours among them each time."""

from __future__ import annotations

from collections.abc import Sequence

from export.benchmark.errors import BenchError
from export.benchmark.job import OURS

GIB = 2**30
USABLE = 0.9
"""Of the free memory."""
COPIES = 1.25
"""Of the computing weights, per worker; what is mapped from files beside them can be let go of."""
WORKING_BYTES_PER_PIXEL = 6 * 2**10
"""Per worker: activations of an autoencoder's decoder at one picture."""
BASELINE = 0.7 * GIB
"""Per worker: Python and its libraries."""


def worker_bytes(weight_bytes: int, pixels: int) -> int:
    """About how much memory one worker takes.

    Args:
        weight_bytes: Of all weights, in the dtype of the computing.
        pixels: Of one picture.
    """
    return int(COPIES * weight_bytes + WORKING_BYTES_PER_PIXEL * pixels + BASELINE)


def together(need: int, free: int, asked: int | None) -> int:
    """How many workers may be alive at once.

    Args:
        need: Bytes of one.
        free: Bytes that there are.
        asked: ``--together``, or None.

    Raises:
        BenchError: Fewer than the two that a ratio takes fit, or were asked for.
    """
    if asked is not None:
        if asked < 2:
            raise BenchError(f"--together is {asked}; a ratio takes 2 workers or more, side by side")
        return asked
    fit = int(USABLE * free / need)
    if fit < 2:
        raise BenchError(
            f"too little memory: two workers need about {2 * need / GIB:.1f} GiB, {free / GIB:.1f} GiB are free; "
            "end other programs, or say --together 2 to try"
        )
    return fit


def make_groups(baselines: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Deal the baselines out, ours to each group.

    Args:
        baselines: Rows beside ours.
        size: Workers at once, 2 or more.

    Returns:
        Groups of rows, ours first.
    """
    step = size - 1
    groups = [(OURS, *baselines[start : start + step]) for start in range(0, len(baselines), step)]
    return groups or [(OURS,)]
