"""``ragturbo library bench``: what search costs in a library of a given size, with exact search as the yardstick."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragturbo_runtime.library_bench.clustered import ClusteredKeys
from ragturbo_runtime.library_bench.measuring import Measured, measure_library
from ragturbo_sdk.checks import check_integer
from ragturbo_sdk.errors import OutputError

MAX_KEYS, MAX_DIM, MAX_QUERIES = 10**8, 1 << 16, 10**6
_LONG = 20_000
"""From so many keys on it takes minutes, and what is done is said on stderr."""
_OVERHEAD = 2
"""Room on the disk for the index, the records and SQLite's log, as a multiple of the keys."""


@dataclass(frozen=True)
class LibraryBenchReport:
    """What was measured, with what."""

    keys: int
    dim: int
    seed: int
    queries: int
    measured: Measured

    def as_dict(self) -> dict[str, Any]:
        """What ``ragturbo library bench --json`` prints; ``rss_bytes`` is None where the system does not say."""
        about = {"keys": self.keys, "dim": self.dim, "seed": self.seed, "queries": self.queries}
        return {**about, **self.measured.as_dict()}

    def as_text(self) -> str:
        """The same for people."""
        found = self.as_dict()
        index = "none: every key is compared"
        if found["index"] is not None:
            index = "{kind}, looks through {effort} of {leaves} parts".format(**found["index"])
        rows = {
            "index": index,
            "adding the keys": f"{found['add_s']:.1f} s",
            "building the index": f"{found['build_s']:.1f} s",
            "opening": f"{found['open_s']:.2f} s",
            "a search": f"{found['p50_ms']:.3f} ms (p50), {found['p99_ms']:.3f} ms (p99)",
            "an exact search": f"{found['exact_p50_ms']:.3f} ms (p50)",
            "of the 10 nearest, found": f"{found['recall_at_10']:.2%}",
            "keys and index on the disk": _size(found["disk_bytes"]),
            "memory, opened and searched": _size(found["rss_bytes"]),
        }
        title = f"{self.keys} keys of {self.dim} numbers, seed {self.seed}, {self.queries} searches"
        return "\n".join([title, *(f"  {name:<30}{value}" for name, value in rows.items())])


def measure(
    keys: int, dim: int, *, seed: int = 0, queries: int = 1000, directory: Path | None = None
) -> LibraryBenchReport:
    """Make a library of unit vectors in clusters, search it in a process of its own, and compare with exact search.

    Args:
        keys: How many, 100 to 10**8.
        dim: Their width, 2 to 65,536.
        seed: Decides keys and queries.
        queries: Searches that are timed, one by one and three times, 1 to 10**6.
        directory: Where the library is made, and stays; None: in a temporary folder, which is deleted.

    Returns:
        What was measured.

    Raises:
        InvalidInputError: A number is out of range.
        OutputError: The folder cannot be written, holds a library, or its disk has too little room.
        RetrievalError: The process that searches failed.
    """
    check_integer("keys", keys, 100, MAX_KEYS, hint="20000 or more are indexed")
    check_integer("dim", dim, 2, MAX_DIM, hint="text encoders give 512 to 1280")
    check_integer("seed", seed, 0, 2**64 - 1, hint="any will do")
    check_integer("queries", queries, 1, MAX_QUERIES, hint="1000 tell the 99th percentile")
    start = time.monotonic()

    def report(line: str) -> None:
        if keys >= _LONG:
            sys.stderr.write(f"{time.monotonic() - start:6.1f} s: {line}\n")

    with _folder(directory) as folder:
        _require_room(folder, keys * dim)
        made = ClusteredKeys(keys, dim, seed)
        measured = measure_library(folder, made, queries=queries, report=report)
    return LibraryBenchReport(keys, dim, seed, queries, measured)


@contextlib.contextmanager
def _folder(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="ragturbo-bench-") as parent:
        yield Path(parent) / "library"


def _require_room(folder: Path, key_bytes: int) -> None:
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    need, free = _OVERHEAD * key_bytes, shutil.disk_usage(there).free
    if free < need:
        raise OutputError(
            f"{there}: {_size(free)} are free, the library needs about {_size(need)}",
            path=folder,
            hint="choose fewer keys, or a folder on another disk (TMPDIR)",
        )


def _size(count: int | None) -> str:
    return "unknown on this system" if count is None else f"{count / 1e6:,.1f} MB"
