"""Changing a library: what is acknowledged is on the disk, and what is not has never happened.

New rows are written behind the ones that count and flushed; then one transaction of the records makes them count. Who
is killed before that leaves rows that nobody reads, and the next writer writes over them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.errors import InvalidInputError, OutputError, RetrievalError
from ragturbo_runtime.library.database import (
    VALUES_AT_ONCE,
    checksum,
    close_after_writing,
    open_for_writing,
    read_layout,
    transaction,
    unreadable,
    write_layout,
)
from ragturbo_runtime.library.feature_rows import encode_features
from ragturbo_runtime.library.key_rows import encode_keys
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.lock import WriterLock
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.rows_file import append_rows

_SHOWN = 5
"""Ids in a message."""


class LibraryWriter:
    """The one writer of a library, from its making to ``close``. For one thread at a time.

    Attributes:
        directory: The library's folder.
        layout: As it is now.
    """

    def __init__(self, directory: Path) -> None:
        """Take the writer's lock and open the records.

        Args:
            directory: The library's folder.

        Raises:
            RetrievalError: There is no library, or it is damaged.
            LibraryLockedError: There is another writer.
            OutputError: The folder cannot be written.
        """
        self.directory = directory
        if not os.path.isdir(directory):  # which a name that is too long is not, either
            raise RetrievalError(f"{directory}: no such folder", hint="ragturbo library build makes one")
        self._lock = WriterLock(directory)
        try:
            self.records: sqlite3.Connection = open_for_writing(directory)
            try:
                self.layout: Layout = read_layout(self.records, directory)
            except BaseException:
                self.records.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def add(self, items: Sequence[LibraryItem], keys: NDArray[Any], features: NDArray[Any]) -> range:
        """Add pictures; when this returns they are on the disk, and whoever searches finds them.

        Args:
            items: N pictures, whose ids are not in the library.
            keys: (N, E) float unit vectors: ``text_embeds`` of the captions.
            features: (N, T, C) float: what the U-Net's encoder says of the pictures.

        Returns:
            Their rows.

        Raises:
            InvalidInputError: Shapes do not fit, an id is there already, or a value is not finite.
            OutputError: The disk is full, or a file cannot be written; nothing was added.
        """
        before = self.layout
        self._check(items, keys, features)
        key_rows = encode_keys(keys, before.key_dtype)
        feature_rows = encode_features(features, before.feature_codec, before.scale)
        if not np.isfinite(feature_rows).all():
            raise InvalidInputError(
                "features are too large for float16", argument="features", hint="keep them as int8"
            )
        after = replace(before, rows=before.rows + len(items), version=before.version + 1)
        rows = range(before.rows, after.rows)
        with self.changing():
            append_rows(self.directory / before.keys_file, key_rows, before.key_row, before.rows)
            append_rows(self.directory / before.features_file, feature_rows, before.feature_row, before.rows)
            with transaction(self.records):
                self._insert(rows, items, key_rows, feature_rows)
                write_layout(self.records, after)
        self.layout = after
        return rows

    def remove(self, ids: Iterable[str]) -> int:
        """Remove pictures; when this returns nobody finds them. Their room is freed by compacting.

        Args:
            ids: Their names; all must be there.

        Returns:
            How many.

        Raises:
            InvalidInputError: An id is not in the library; then nothing was removed.
            OutputError: The records cannot be written; nothing was removed.
        """
        wanted = list(dict.fromkeys(ids))
        found = self._rows_of(wanted)
        if missing := [name for name in wanted if name not in found]:
            raise InvalidInputError(
                f"not in the library: {_some(missing)}",
                argument="ids",
                hint="nothing was removed; search names what is there",
            )
        after = replace(self.layout, version=self.layout.version + 1)
        rows = [(row,) for row in found.values()]
        with self.changing(), transaction(self.records):
            self.records.executemany("DELETE FROM records WHERE row = ?", rows)
            self.records.executemany("DELETE FROM thumbnails WHERE row = ?", rows)
            self.records.executemany("INSERT INTO removed VALUES (?)", rows)
            write_layout(self.records, after)
        self.layout = after
        return len(rows)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return which of some ids are in the library."""
        return set(self._rows_of(list(ids)))

    def close(self) -> None:
        """Let other writers in. Closing twice does nothing."""
        close_after_writing(self.records)
        self._lock.release()

    def __enter__(self) -> LibraryWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _insert(
        self, rows: range, items: Sequence[LibraryItem], keys: NDArray[Any], features: NDArray[Any]
    ) -> None:
        records = [
            (
                row,
                item.id,
                item.caption,
                item.source,
                item.licence,
                checksum(item, key.tobytes(), some.tobytes()),
            )
            for row, item, key, some in zip(rows, items, keys, features, strict=True)
        ]
        self.records.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", records)
        thumbnails = ((row, item.thumbnail) for row, item in zip(rows, items, strict=True))
        self.records.executemany("INSERT INTO thumbnails VALUES (?, ?)", thumbnails)

    def _check(self, items: Sequence[LibraryItem], keys: NDArray[Any], features: NDArray[Any]) -> None:
        count, layout = len(items), self.layout
        expected = ((count, layout.embed_dim), (count, layout.tokens, layout.channels))
        if count == 0 or (keys.shape, features.shape) != expected:
            raise InvalidInputError(
                f"{count} items, keys {keys.shape}, features {features.shape}: expected 1 or more, "
                f"(N, {layout.embed_dim}), (N, {layout.tokens}, {layout.channels})",
                argument="items",
            )
        if not np.isfinite(keys).all() or not np.isfinite(features).all():
            raise InvalidInputError("keys or features hold NaN or infinity", argument="features")
        ids = [item.id for item in items]
        taken = self.known(ids) | {name for name, times in Counter(ids).items() if times > 1}
        if taken:
            raise InvalidInputError(
                f"ids are in the library already, or twice in the list: {_some(sorted(taken))}",
                argument="items",
                hint="remove those first, or give others",
            )

    def _rows_of(self, ids: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(ids), VALUES_AT_ONCE):
            some = ids[start : start + VALUES_AT_ONCE]
            query = f"SELECT id, row FROM records WHERE id IN ({','.join('?' * len(some))})"
            try:
                found |= dict(self.records.execute(query, some))
            except sqlite3.Error as exc:
                raise unreadable(self.directory, exc) from exc
        return found

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Turn what the system says of a change that cannot be made into an error of ours."""
        try:
            yield
        except (OSError, sqlite3.Error) as exc:
            raise OutputError(
                f"{self.directory}: cannot be written ({exc})",
                path=self.directory,
                hint="nothing was changed; make room on the disk, or choose a writable folder",
            ) from exc


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
