"""Encodes a collection on a Ray cluster: the same chunks, the same graphs, and so the same bytes.

The bundle and the pictures must lie under the same paths on every node, as on a shared file system. Only the node that
runs the build writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.indexing.encoder import PictureEncoder, batch_size
from ragturbo_runtime.indexing.engine import Chunk, Encoded, encode_chunk
from ragturbo_runtime.indexing.opening import open_encoder

_CHUNKS_PER_WORKER = 3
"""One is encoded while two wait, so that no worker is idle and the results that wait for their turn are few."""


class RayEngine:
    """Encodes in worker processes of the cluster that ``ray.init`` has joined.

    Attributes:
        size: Pictures of a chunk, as in one process.
    """

    def __init__(self, bundle: Bundle, *, workers: int, device: str = "cpu", threads: int = 1) -> None:
        """Start the workers; each opens the bundle.

        Args:
            bundle: The bundle.
            workers: How many.
            device: Where their graphs run; with ``"cuda"`` each worker is given a card of its own.
            threads: CPU threads of each, which Ray counts against a node's cores.
        """
        self._side = bundle.manifest.picture_height
        self.size = batch_size(self._side)
        gpus = 1 if device.startswith("cuda") else 0
        worker: Any = ray.remote(num_cpus=threads, num_gpus=gpus)(_Worker)
        self._workers: list[Any] = [
            worker.remote(bundle.path.resolve(), device, threads) for _ in range(workers)
        ]

    def encode(self, chunks: Iterable[Chunk]) -> Iterator[Encoded]:
        """Encode chunks, several at once: see `ragturbo_runtime.indexing.engine.Engine.encode`.

        Raises:
            ray.exceptions.RayError: A worker died, or what it raised.
        """
        waiting: deque[Any] = deque()
        for number, chunk in enumerate(chunks):
            if len(waiting) == _CHUNKS_PER_WORKER * len(self._workers):
                yield ray.get(waiting.popleft())
            worker = self._workers[number % len(self._workers)]
            waiting.append(worker.encode.remote(list(chunk), self._side))
        while waiting:
            yield ray.get(waiting.popleft())


class _Worker:
    """Lives in a process of its own."""

    def __init__(self, bundle: Path, device: str, threads: int) -> None:
        self._encoder: PictureEncoder = open_encoder(
            Bundle.load(bundle, verify="off"), device=device, threads=threads
        )

    def encode(self, chunk: Chunk, side: int) -> Encoded:
        return encode_chunk(self._encoder, chunk, side)
