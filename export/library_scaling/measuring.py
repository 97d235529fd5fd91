"""Libraries of several sizes, and their indexes with other settings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.index.cache import IndexInfo
from ragturbo_runtime.index.candidates import RankedIndex
from ragturbo_runtime.index.kinds import load_proposer
from ragturbo_runtime.index.nearest import nearest, recall_of
from ragturbo_runtime.index.partition import decoded
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.rows_file import map_rows
from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.measuring import measure_library
from ragturbo_runtime.library_bench.searching import NEIGHBORS, ROUNDS, timed

CANDIDATES = (50, 100, 200)
EFFORTS = (1, 2, 4, 8, 16, 32, 64)

Report = Callable[[str], None]
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        sizes: Keys of each library, rising; two have an index or more.
        dim: E.
        seed: Makes the keys.
        queries: Q, per library.
    """

    sizes: Sequence[int]
    dim: int
    seed: int
    queries: int


def measure_sizes(plan: Plan, work: Path | None, report: Report) -> tuple[list[Numbers], list[Numbers]]:
    """Measure all of a plan.

    Args:
        plan: What.
        work: A folder with room for the largest library; None: the system's for temporary files.
        report: Is told what is done next.

    Returns:
        The numbers of each size, and those of each one that has an index with other settings.

    Raises:
        RagTurboError: A library cannot be made or searched.
    """
    found, sweeps = [], []
    for size in plan.sizes:
        keys = ClusteredKeys(size, plan.dim, plan.seed)
        with tempfile.TemporaryDirectory(prefix="ragturbo-bench-", dir=work) as parent:
            folder = Path(parent) / "library"
            measured = measure_library(folder, keys, queries=plan.queries, report=report)
            found.append({"keys": size, **measured.as_dict()})
            if (index := measured.made.index) is not None:
                report("searching it with other settings")
                sweeps.append(sweep_index(folder, measured.made.layout, index, keys, plan.queries))
    return found, sweeps


def sweep_index(
    directory: Path, layout: Layout, info: IndexInfo, keys: ClusteredKeys, queries: int
) -> Numbers:
    """Search one index with several settings.

    Args:
        directory: The library's folder.
        layout: Of the library.
        info: Of its index.
        keys: What the library was made of.
        queries: Q.

    Returns:
        ``keys``; ``stored_recall``, of exact search among the keys as they are stored; ``points``: candidates, effort,
        p50_ms, recall_at_10.
    """
    rows = map_rows(directory / layout.keys_file, layout.key_row, layout.rows, at_random=False)
    proposer = load_proposer(info.kind, directory / layout.index_folder)
    asked = keys.queries(queries)
    true = nearest(asked, keys.blocks(), NEIGHBORS)
    stored = recall_of(nearest(asked, decoded(rows), NEIGHBORS), true)
    settings = [
        (candidates, effort) for candidates in CANDIDATES for effort in EFFORTS if effort <= info.leaves
    ]
    indexes = [RankedIndex(proposer, rows, effort, candidates=candidates) for candidates, effort in settings]
    # In turns: what disturbs the machine meets all settings, and the best of three rounds is hardly disturbed.
    rounds = [[timed(index.search, asked) for index in indexes] for _ in range(ROUNDS)]
    points = [
        {
            "candidates": candidates,
            "effort": effort,
            "p50_ms": round(min(float(np.median(times)) for times, _ in found), 4),
            "recall_at_10": round(recall_of(found[0][1], true), 4),
        }
        for (candidates, effort), *found in zip(settings, *rounds, strict=True)
    ]
    return {"keys": keys.count, "stored_recall": round(stored, 4), "points": points}
