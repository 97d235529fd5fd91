"""What a library would take that is too large to be measured here.

A search takes a fixed time, some for each part of the index (its centre is compared) and some for each key in the parts
that it looks through. The three are fitted to the searches of the libraries that were measured, which looked through
more and fewer parts; of the larger one the same share is looked through as of the largest of those, and p99 is as far
from p50. Exact search, files, memory and opening are in proportion to the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.index.candidates import CANDIDATES
from ragturbo_runtime.index.effort import least_effort
from ragturbo_runtime.index.partition import leaves_of

_PROPORTIONAL = {"exact_p50_ms": 1, "open_s": 2, "disk_bytes": None, "total_bytes": None, "rss_bytes": None}
"""And how many digits are kept; None: a whole number."""


def cost(keys: int, effort: int) -> tuple[float, float, float]:
    """Return what a search does: once, for each part, for each key; see the top of this file."""
    leaves = leaves_of(keys)
    return 1.0, float(leaves), keys * min(1.0, effort / leaves)


def extrapolate(
    keys: int, sizes: Sequence[Mapping[str, Any]], sweeps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Say what a larger library takes.

    Args:
        keys: How many it has.
        sizes: Those that were measured, rising; the last one has an index.
        sweeps: Searches of two or more of them, from `export.library_scaling.measuring`.

    Returns:
        ``keys``, ``effort``, the three times, ``p50_ms`` and ``p99_ms`` that follow, and what is in proportion.
    """
    largest, leaves = sizes[-1], leaves_of(keys)
    share = largest["index"]["effort"] / largest["index"]["leaves"]
    effort = max(least_effort(leaves), round(share * leaves))
    times = _fit(sweeps)
    # What the library adds to its index (its records are asked for changes) is in the measured search alone.
    added = largest["p50_ms"] - times @ cost(largest["keys"], largest["index"]["effort"])
    p50 = float(times @ cost(keys, effort) + added)
    more = keys / largest["keys"]
    return {
        "keys": keys,
        "effort": effort,
        "fixed_us": round(float(times[0] + added) * 1e3, 1),
        "per_part_ns": round(float(times[1]) * 1e6, 2),
        "per_key_ns": round(float(times[2]) * 1e6, 2),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p50 + largest["p99_ms"] - largest["p50_ms"], 2),
        **{
            name: round(largest[name] * more, digits)
            for name, digits in _PROPORTIONAL.items()
            if largest[name] is not None
        },
    }


def _fit(sweeps: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(3,) milliseconds: fixed, per part, per key; relative errors count, since times differ by ten."""
    found = [
        (cost(sweep["keys"], point["effort"]), point["p50_ms"])
        for sweep in sweeps
        for point in sweep["points"]
        if point["candidates"] == CANDIDATES
    ]
    rows = np.array([np.array(work) / ms for work, ms in found])
    times: NDArray[np.float64] = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
    return times
