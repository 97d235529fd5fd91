"""A real library of keys by chance; features, texts and thumbnails are as small as they can be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragturbo_runtime.index.cache import IndexInfo
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.creation import create_library
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import key_dtype_for
from ragturbo_runtime.library.writer import LibraryWriter
from ragturbo_runtime.library_bench.clustered import ClusteredKeys


@dataclass(frozen=True)
class Made:
    """What making a library took.

    Attributes:
        layout: Of the library.
        index: What is known of its index; None: exact search is as good, or there is nothing to build one.
        add_s: Seconds until all keys were on the disk.
        build_s: Seconds that the index took, the search for how much of it has to be looked through included.
    """

    layout: Layout
    index: IndexInfo | None
    add_s: float
    build_s: float


def make_library(directory: Path, keys: ClusteredKeys) -> Made:
    """Make a library and its index.

    Args:
        directory: It is made; it must hold no library.
        keys: What it gets.

    Returns:
        What it took; making the keys is not counted.

    Raises:
        OutputError: The folder cannot be written, or holds a library.
    """
    create_library(directory, _empty(keys))
    with LibraryWriter(directory) as writer:
        add_s = _add(writer, keys)
        start = time.perf_counter()
        index = compact(writer)
        return Made(writer.layout, index, add_s, time.perf_counter() - start)


def disk_bytes(directory: Path, layout: Layout) -> tuple[int, int]:
    """Return the bytes of keys and index, and of all files of a library."""
    index = _size(directory / layout.index_folder)
    return (directory / layout.keys_file).stat().st_size + index, _size(directory)


def _empty(keys: ClusteredKeys) -> Layout:
    return Layout(
        generation=1,
        rows=0,
        indexed=0,
        version=0,
        embed_dim=keys.dim,
        tokens=1,
        channels=1,
        key_dtype=key_dtype_for(keys.count),
        feature_codec="int8",
        scale=np.ones(1, np.float32),
        spaces=None,
    )


def _add(writer: LibraryWriter, keys: ClusteredKeys) -> float:
    """Add all keys, and return the seconds that adding took."""
    seconds = 0.0
    for block in keys.blocks():
        first = writer.layout.rows
        items = [
            LibraryItem(f"{row:09d}", f"what picture {row} shows", b"")
            for row in range(first, first + len(block))
        ]
        features = np.zeros((len(block), 1, 1), np.float32)
        start = time.perf_counter()
        writer.add(items, block, features)
        seconds += time.perf_counter() - start
    return seconds


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
