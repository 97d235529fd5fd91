"""The reference library of a bundle: what retrieval looks in, read-only.

Files in the folder: ``records.sqlite`` (captions, sources, licences, thumbnails, and which encoders the numbers
come from), ``keys.f16`` ((N, E) float16 unit vectors), ``features.i8`` ((N, T, C) int8), ``scale.f32`` ((C,)
float32) and, as a rebuildable cache, ``scann/``. All arrays are raw and little-endian; their shapes follow from
the sizes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Keys, Scale
from ragturbo_runtime.errors import InvalidInputError, RetrievalError
from ragturbo_runtime.features import FeatureStore
from ragturbo_runtime.index import NearestNeighbors, open_index
from ragturbo_runtime.manifest import LibraryPart
from ragturbo_runtime.spaces import Spaces, read_spaces

RECORDS_FILE = "records.sqlite"
KEYS_FILE = "keys.f16"
FEATURES_FILE = "features.i8"
SCALE_FILE = "scale.f32"
SCANN_FOLDER = "scann"

_HINT = "download or export the bundle again"
_SELECT = "SELECT row, id, caption, source, licence FROM records WHERE row IN ({})"


@dataclass(frozen=True)
class Record:
    """What is known about one reference picture.

    Attributes:
        row: Its number in the library, 0 to N - 1.
        id: Its stable name.
        caption: What it shows; its key is this text's.
        source: Where it comes from.
        licence: Under which licence.
    """

    row: int
    id: str
    caption: str
    source: str
    licence: str


@dataclass(frozen=True)
class Reference:
    """A reference as it was used for one picture.

    Attributes:
        id: Its stable name in the library.
        row: Its number in the library.
        caption: What it shows.
        similarity: Cosine to the query that found it, in [-1, 1].
        weight: lambda in [0, 1]; 0 means that it changed nothing.
        source: Where the picture comes from.
        licence: Its licence.
    """

    id: str
    row: int
    caption: str
    similarity: float
    weight: float
    source: str
    licence: str
    _thumbnail: Callable[[int], bytes] = field(repr=False, compare=False)

    def thumbnail(self) -> bytes:
        """Return the reference picture.

        Returns:
            A PNG file's bytes.

        Raises:
            RetrievalError: The library was closed or cannot be read.
        """
        return self._thumbnail(self.row)


class Library:
    """An opened library. Several threads may use it at once.

    Attributes:
        count: N references.
        embed_dim: E of the keys.
        tokens: T of the features.
        channels: C of the features.
        scale: (C,) float32, what the int8 features are to be multiplied by.
        index: Nearest-neighbour search over the keys.
        spaces: The encoders that keys and features come from; None if the records do not say.
    """

    def __init__(self, directory: Path, count: int) -> None:
        """Open the files; ``Library.open`` is the way in.

        Args:
            directory: The library folder.
            count: N references.

        Raises:
            RetrievalError: A file is missing, or the sizes do not fit together.
        """
        self.count = count
        keys = _map_keys(directory / KEYS_FILE, count)
        self.scale: Scale = _read(directory / SCALE_FILE, np.dtype("<f4")).astype(np.float32)
        self.embed_dim, self.channels = keys.shape[1], len(self.scale)
        self.tokens = _tokens(directory / FEATURES_FILE, count, self.channels)
        self._features = FeatureStore(
            directory / FEATURES_FILE, count=count, tokens=self.tokens, channels=self.channels
        )
        self.index: NearestNeighbors = open_index(keys, directory / SCANN_FOLDER)
        self._lock = threading.Lock()
        self._records, self.spaces = _open_records(directory / RECORDS_FILE)

    @classmethod
    def open(cls, directory: Path, part: LibraryPart) -> Library:
        """Open the library of a bundle.

        Args:
            directory: The library folder.
            part: The manifest's ``library``.

        Returns:
            The library.

        Raises:
            RetrievalError: A file is missing, or the sizes do not fit together.
        """
        return cls(directory, part.count)

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest references of every query.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 or more.

        Returns:
            (Q, min(k, N)) int64 rows and float32 cosines, best first.

        Raises:
            InvalidInputError: The queries have another width, or ``k`` is below 1.
            RetrievalError: The index failed.
        """
        if queries.ndim != 2 or queries.shape[1] != self.embed_dim or k < 1:
            raise InvalidInputError(
                f"queries are {queries.shape}, k is {k}: expected (Q, {self.embed_dim}) and 1 or more",
                argument="queries",
            )
        return self.index.search(queries, k)

    def features(self, rows: Sequence[int] | NDArray[np.int64]) -> Features:
        """Read the features of some references.

        Args:
            rows: K row numbers.

        Returns:
            (K, T, C) int8, to be multiplied by ``scale``.

        Raises:
            RetrievalError: A row is out of range.
        """
        return self._features.read(rows)

    def records(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Record]:
        """Look up what is known about some references.

        Args:
            rows: K row numbers.

        Returns:
            K records, in the order of ``rows``.

        Raises:
            RetrievalError: A row is out of range, or the library was closed.
        """
        wanted = [int(row) for row in rows]
        query = _SELECT.format(",".join("?" * len(wanted)))
        found = {values[0]: Record(*values) for values in self._query(query, wanted)}
        if missing := [row for row in wanted if row not in found]:
            raise RetrievalError(f"rows {missing}: not in the library, which has 0 to {self.count - 1}")
        return [found[row] for row in wanted]

    def references(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        similarities: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> list[Reference]:
        """Join records with how they were used.

        Args:
            rows: K row numbers.
            similarities: (K,) cosines.
            weights: (K,) lambdas.

        Returns:
            K references, in the order of ``rows``.

        Raises:
            RetrievalError: A row is out of range, or the library was closed.
        """
        return [
            Reference(
                r.id, r.row, r.caption, float(cosine), float(weight), r.source, r.licence, self.thumbnail
            )
            for r, cosine, weight in zip(self.records(rows), similarities, weights, strict=True)
        ]

    def thumbnail(self, row: int) -> bytes:
        """Return the picture of a reference.

        Args:
            row: Its number.

        Returns:
            A PNG file's bytes.

        Raises:
            RetrievalError: The row is out of range, or the library was closed.
        """
        found = self._query("SELECT png FROM thumbnails WHERE row = ?", [int(row)])
        if not found:
            raise RetrievalError(f"row {row}: not in the library, which has 0 to {self.count - 1}")
        return bytes(found[0][0])

    def close(self) -> None:
        """Close the records. Features that were read stay valid; further look-ups raise."""
        with self._lock:
            self._records.close()

    def _query(self, sql: str, values: Sequence[int]) -> list[tuple[int, str, str, str, str]]:
        try:
            with self._lock:
                return self._records.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise RetrievalError(f"library records cannot be read ({exc})", hint=_HINT) from exc


def _open_records(path: Path) -> tuple[sqlite3.Connection, Spaces | None]:
    """Open read-only and immutable: no lock file is written beside it, and any thread may use it."""
    uri = f"file:{quote(path.as_posix())}?mode=ro&immutable=1"
    try:
        with contextlib.ExitStack() as on_failure:
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            on_failure.callback(connection.close)
            connection.execute(_SELECT.format(0)).fetchone()
            spaces = read_spaces(connection)
            on_failure.pop_all()
    except sqlite3.Error as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc})", hint=_HINT) from exc
    return connection, spaces


def _read(path: Path, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    try:
        return np.fromfile(path, dtype=dtype)
    except OSError as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc.strerror})", hint=_HINT) from exc


def _map_keys(path: Path, count: int) -> NDArray[np.float16]:
    """Map the keys: an index that was built before needs their number alone."""
    try:
        values = np.memmap(path, dtype="<f2", mode="r")
    except (OSError, ValueError) as exc:  # ValueError: an empty file, or an odd number of bytes
        raise RetrievalError(f"{path}: cannot be read ({exc})", hint=_HINT) from exc
    if values.size % count:
        raise RetrievalError(f"{path}: {values.size} numbers do not make {count} keys", hint=_HINT)
    return values.reshape(count, -1)


def _tokens(path: Path, count: int, channels: int) -> int:
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc.strerror})", hint=_HINT) from exc
    if channels == 0 or size == 0 or size % (count * channels):
        raise RetrievalError(
            f"{path}: {size} bytes do not make {count} rows of {channels} channels", hint=_HINT
        )
    return size // (count * channels)
