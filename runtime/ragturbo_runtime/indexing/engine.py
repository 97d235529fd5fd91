"""Pictures to rows, chunk by chunk, in the order of the collection: in this process, or elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys, Pixels
from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture, printable
from ragturbo_runtime.indexing.encoder import PictureEncoder, batch_size
from ragturbo_runtime.indexing.thumbnail import make_thumbnail
from ragturbo_runtime.library.record import LibraryItem

_READERS = 2
"""Threads that decode: the graphs need the cores too."""
_CHUNKS_AHEAD = 3

Chunk = Sequence[Entry]
Read = tuple[LibraryItem, Pixels] | SkippedPicture


@dataclass(frozen=True)
class Encoded:
    """What became of a chunk.

    Attributes:
        items: B pictures as the library keeps them; none where none can be used.
        keys: (B, E) float32.
        features: (B, T, C) float32.
        skipped: What cannot be read.
    """

    items: list[LibraryItem]
    keys: Keys
    features: NDArray[np.float32]
    skipped: list[SkippedPicture]


class Engine(Protocol):
    """Where encoding happens.

    Attributes:
        size: Pictures of a chunk.
    """

    size: int

    def encode(self, chunks: Iterable[Chunk]) -> Iterator[Encoded]:
        """Encode chunks.

        Args:
            chunks: Some pictures each.

        Yields:
            One result per chunk, in their order.

        Raises:
            InferenceError: A graph failed.
        """


class LocalEngine:
    """Encodes in this process; pictures are read ahead of the graphs.

    Attributes:
        size: Pictures of a chunk.
    """

    def __init__(self, encoder: PictureEncoder, side: int) -> None:
        """Keep both.

        Args:
            encoder: Of the bundle.
            side: Pixels that it reads.
        """
        self._encoder, self._side = encoder, side
        self.size: int = batch_size(side)

    def encode(self, chunks: Iterable[Chunk]) -> Iterator[Encoded]:
        """Encode chunks: see `Engine.encode`."""
        for read in _read_ahead(chunks, self._side):
            yield encode_read(self._encoder, read)


def encode_chunk(encoder: PictureEncoder, chunk: Chunk, side: int) -> Encoded:
    """Read and encode one chunk.

    Args:
        encoder: Of the bundle.
        chunk: The pictures.
        side: Pixels that the encoder reads.

    Returns:
        Its rows.

    Raises:
        InferenceError: A graph failed.
    """
    return encode_read(encoder, [_read(entry, side) for entry in chunk])


def encode_read(encoder: PictureEncoder, read: Sequence[Read]) -> Encoded:
    """Encode what was read of one chunk: see `encode_chunk`."""
    skipped = [one for one in read if isinstance(one, SkippedPicture)]
    good = [one for one in read if not isinstance(one, SkippedPicture)]
    if not good:
        return Encoded([], np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32), skipped)
    items = [item for item, _ in good]
    keys, features = encoder.encode([picture for _, picture in good], [item.caption for item in items])
    return Encoded(items, keys, features, skipped)


def _read_ahead(chunks: Iterable[Chunk], side: int) -> Iterator[list[Read]]:
    waiting: deque[list[Future[Read]]] = deque()
    pool = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="ragturbo-read")
    try:
        for chunk in chunks:
            waiting.append([pool.submit(_read, entry, side) for entry in chunk])
            if len(waiting) >= _CHUNKS_AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(entry: Entry, side: int) -> Read:
    try:
        picture = entry.read(side)
    except PictureError as error:
        return SkippedPicture(printable(entry.id), error.message)
    thumbnail = make_thumbnail(picture)
    return LibraryItem(entry.id, entry.caption, thumbnail, entry.source, entry.licence), picture
