"""Files of rows of one size: read through the page cache, and only ever added to at their end.

What lies beyond the rows that the records count was written by someone who was killed before the records knew of it. It
is never read, and the next writer writes over it.
"""

from __future__ import annotations

import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.files import sync_directory

_HINT = "build the library again, or take it from a copy; what is lost cannot be computed from the rest"

_READ_AT_MOST = 1 << 20
"""Bytes: more are worth a mapping."""


def map_rows(path: Path, row: np.dtype[Any], count: int, *, at_random: bool) -> NDArray[Any]:
    """Map the first rows of a file; nothing is read yet.

    Args:
        path: The file.
        row: Layout of one row.
        count: N rows, 0 or more.
        at_random: Whether few rows far apart will be read: then nothing is read ahead.

    Returns:
        N rows, read-only.

    Raises:
        RetrievalError: The file is missing or shorter than that.
    """
    if count == 0:
        return np.empty(0, row)
    file = _open(path)
    try:
        return _map(file, path, row, count, at_random)
    finally:
        os.close(file)


class RowsFile:
    """A file that others add to: it is opened once, and mapped again only when rows behind the mapping are wanted.

    What was opened stays readable when a compaction deletes the file. Several threads may use it at once.
    """

    def __init__(self, path: Path, row: np.dtype[Any], count: int, *, at_random: bool) -> None:
        """Open the file and map its first rows.

        Args:
            path: The file; with a count of 0 there may be none.
            row: Layout of one row.
            count: N rows, 0 or more.
            at_random: As for `map_rows`.

        Raises:
            RetrievalError: The file is missing or shorter than that.
        """
        self._path, self._row, self._at_random = path, row, at_random
        self._mapped: NDArray[Any] = np.empty(0, row)
        self._file: int | None = None
        self.first(count)

    def first(self, count: int) -> NDArray[Any]:
        """Return the first rows, read-only.

        Args:
            count: N rows, 0 or more.

        Raises:
            RetrievalError: The file is missing or shorter than that.
        """
        mapped = self._mapped
        if len(mapped) < count:
            mapped = self._mapped = _map(self._opened(), self._path, self._row, count, self._at_random)
        return mapped[:count]

    def between(self, start: int, end: int) -> NDArray[Any]:
        """Copy some rows. Few of them are read sooner than mapped, which every thread of the process waits for.

        Args:
            start: First row.
            end: Row behind the last one.

        Raises:
            RetrievalError: The file is missing or shorter than that.
        """
        length = (end - start) * self._row.itemsize
        if not 0 < length <= _READ_AT_MOST or not hasattr(os, "pread"):
            return self.first(end)[start:]
        try:
            read = os.pread(self._opened(), length, start * self._row.itemsize)
        except OSError as exc:
            raise RetrievalError(f"{self._path}: cannot be read ({exc})", hint=_HINT) from exc
        if len(read) < length:
            return self.first(end)[start:]  # which says what is missing
        return np.frombuffer(read, dtype=self._row, count=end - start)

    def _opened(self) -> int:
        if self._file is None:
            file = _open(self._path)
            self._file = file
            weakref.finalize(self, os.close, file)
        return self._file


def read_rows(rows: NDArray[Any], wanted: NDArray[np.int64]) -> NDArray[Any]:
    """Copy some rows of a mapped file.

    The kernel is told of all of them before the first is touched: a disk then reads them side by side, and not one
    page after the other as they are met.

    Args:
        rows: N rows, from `map_rows`.
        wanted: Which, of any shape, each in [0, N).

    Returns:
        The rows, of the shape of ``wanted`` and that of a row.
    """
    whole = rows.base if isinstance(rows.base, np.ndarray) else rows
    mapped = getattr(whole.base, "obj", None)  # of the memory view that numpy has made
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED"):
        length = rows.strides[0]
        for row in sorted(set(wanted.ravel().tolist())):  # np.unique would load numpy.ma
            start = row * length // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, start, (row + 1) * length - start)
    return rows[wanted]


def append_rows(path: Path, rows: NDArray[Any], row: np.dtype[Any], count: int) -> None:
    """Write rows behind the first ``count`` of a file, and flush them to the disk.

    Args:
        path: The file; it is made if it is missing and ``count`` is 0.
        rows: What to add, of the layout ``row``.
        row: Layout of one row.
        count: Rows that count; what lies behind them is cut off.

    Raises:
        OSError: The file cannot be written, or has fewer rows.
    """
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT if count == 0 else 0)
    with os.fdopen(os.open(path, flags, 0o666), "r+b") as file:
        if os.fstat(file.fileno()).st_size < count * row.itemsize:
            raise OSError(f"{path}: shorter than the {count} rows that the records count")
        file.truncate(count * row.itemsize)
        file.seek(0, os.SEEK_END)
        file.write(np.ascontiguousarray(rows).tobytes())
        file.flush()
        os.fsync(file.fileno())
    if count == 0:  # the file may be new
        sync_directory(path.parent)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc})", hint=_HINT) from exc


def _map(file: int, path: Path, row: np.dtype[Any], count: int, at_random: bool) -> NDArray[Any]:
    try:
        if (size := os.fstat(file).st_size) < count * row.itemsize:
            raise RetrievalError(
                f"{path}: {size} bytes, expected {count * row.itemsize} = {count} rows of {row.itemsize}",
                hint=_HINT,
            )
        mapped = mmap.mmap(file, count * row.itemsize, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc})", hint=_HINT) from exc
    if at_random and hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=row, count=count)
