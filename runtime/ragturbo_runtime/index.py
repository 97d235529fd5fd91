"""Nearest neighbours of a query among the library's keys."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Array, Keys
from ragturbo_runtime.errors import RetrievalError

if TYPE_CHECKING:
    from scann.scann_ops.py.scann_ops_pybind import ScannSearcher

logger = logging.getLogger(__name__)

BRUTE_FORCE_BELOW = 20_000
"""Below this many keys an exact scan is as fast as an index (ScaNN's docs/algorithms.md)."""
_TREE_FROM = 100_000
_SCANN_CONFIG = "scann_config.pb"
_SMALL_PRODUCT = 1 << 18
"""Products of so many multiplications or fewer stay in the calling thread (OpenBLAS, interface/gemm.c). Its threads
spin on for milliseconds after a larger one, on the cores that the graphs then wait for (docs/pitfalls.md)."""


class NearestNeighbors(Protocol):
    """What retrieval needs of an index."""

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest keys.

        Args:
            queries: (Q, E) float32 unit vectors.
            k: How many, 1 to N.

        Returns:
            (Q, k) int64 rows and (Q, k) float32 cosines, best first.
        """


class ExactIndex:
    """Every key is compared: exact, no build step, ties go to the smaller row."""

    def __init__(self, keys: Array) -> None:
        """Keep the keys as float32 (numpy has no fast float16 product).

        Args:
            keys: (N, E) float16 or float32 unit vectors.

        Raises:
            RetrievalError: A key is not finite.
        """
        if not np.isfinite(keys).all():
            raise RetrievalError("the library's keys hold NaN or infinity", hint="export the library again")
        self._keys_t = np.ascontiguousarray(
            keys.astype(np.float32).T
        )  # (E, N): rows of the product are contiguous

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest keys of every query; see NearestNeighbors.search."""
        cosines = _product(queries, self._keys_t)
        count = min(k, cosines.shape[1])
        ids = np.empty((len(queries), count), dtype=np.int64)
        for row, values in enumerate(cosines):
            ids[row] = _largest(values, count)
        return ids, np.take_along_axis(cosines, ids, axis=1)


class ScannIndex:
    """A ScaNN index that was written by build_scann_index."""

    def __init__(self, searcher: ScannSearcher, count: int) -> None:
        """Wrap a loaded searcher over ``count`` keys; ``ScannIndex.load`` reads one."""
        self._searcher = searcher
        self._count = count

    @classmethod
    def load(cls, directory: Path) -> ScannIndex:
        """Read an index folder.

        Args:
            directory: Written by build_scann_index; may have been moved since.

        Returns:
            The index.

        Raises:
            RetrievalError: scann is not installed, or the folder holds no index, or one with pickled ids.
        """
        ops = _scann()
        if (directory / "scann_docids.pkl").exists():
            raise RetrievalError(
                f"{directory}: holds pickled ids, which are never loaded", hint="build the index again"
            )
        try:
            searcher = ops.load_searcher(str(directory))
            return cls(searcher, int(searcher.size()))
        except Exception as exc:
            raise RetrievalError(
                f"{directory}: not a ScaNN index ({exc})",
                hint="build the index again from the library's keys",
            ) from exc

    def search(self, queries: Keys, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest keys of every query, approximately; see NearestNeighbors.search.

        Raises:
            RetrievalError: ScaNN refused the queries (wrong width, NaN).
        """
        try:
            ids, cosines = self._searcher.search_batched(queries, final_num_neighbors=min(k, self._count))
        except Exception as exc:
            raise RetrievalError(f"ScaNN refused queries of shape {queries.shape} ({exc})") from exc
        return ids.astype(np.int64), cosines.astype(np.float32)


def build_scann_index(keys: Array, directory: Path) -> Path:
    """Build a ScaNN index and write it into a folder: a cache, which can be built again from the keys.

    Brute force below 20,000 keys, quantised scoring with reordering below 100,000, a tree on top above
    (ScaNN docs/algorithms.md). No document ids are stored: they would be pickled.

    Args:
        keys: (N, E) float16 or float32 unit vectors.
        directory: Where to; created if absent.

    Returns:
        The folder. It can be moved: the paths in it are relative.

    Raises:
        RetrievalError: scann is not installed.
    """
    ops = _scann()
    values = np.ascontiguousarray(keys, dtype=np.float32)
    count = len(values)
    builder = ops.builder(values, 10, "dot_product")
    if count < BRUTE_FORCE_BELOW:
        builder = builder.score_brute_force()
    else:
        if count >= _TREE_FROM:
            leaves = int(count**0.5)
            builder = builder.tree(
                leaves, min(leaves, max(16, leaves // 20)), training_sample_size=min(count, 250_000)
            )
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
    directory.mkdir(parents=True, exist_ok=True)
    builder.build().serialize(str(directory), relative_path=True)
    return directory


def open_index(keys: Array, directory: Path) -> NearestNeighbors:
    """Choose the index of a library: ScaNN where it pays and is there, else exact search.

    Args:
        keys: (N, E) float16 or float32 unit vectors.
        directory: The ScaNN folder; may be absent.

    Returns:
        A ScannIndex for 20,000 keys and more if the folder and the scann package are there, else an
        ExactIndex.

    Raises:
        RetrievalError: The folder holds no index that can be read.
    """
    if len(keys) < BRUTE_FORCE_BELOW:
        return ExactIndex(keys)
    if has_scann() and (directory / _SCANN_CONFIG).exists():
        return ScannIndex.load(directory)
    logger.warning(
        "searching %d keys exactly: no ScaNN index in %s, or scann is not installed", len(keys), directory
    )
    return ExactIndex(keys)


def has_scann() -> bool:
    """Whether the scann package is installed (it has wheels for Linux only). Does not import it."""
    from importlib.util import find_spec

    return find_spec("scann") is not None


def _scann() -> Any:  # noqa: ANN401 - scann has no type information
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as exc:
        raise RetrievalError(f"scann cannot be imported ({exc})", hint="pip install scann (Linux)") from exc
    return scann_ops_pybind


def _product(queries: Keys, keys_t: NDArray[np.float32]) -> NDArray[np.float32]:
    """(Q, E) @ (E, N), in the calling thread alone."""
    width, count = keys_t.shape
    # Matrix times matrix even for one query: matrix times vector is given to threads much sooner.
    rows = queries if len(queries) > 1 else np.repeat(queries, 2, axis=0)
    cosines = np.empty((len(rows), count), dtype=np.float32)
    columns = max(1, _SMALL_PRODUCT // (width * len(rows)))
    for start in range(0, count, columns):
        np.matmul(rows, keys_t[:, start : start + columns], out=cosines[:, start : start + columns])
    return cosines[: len(queries)]


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the positions of the largest values, largest first, equal ones by position."""
    if count < len(values):
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        candidates = np.flatnonzero(values >= threshold)
    else:
        candidates = np.arange(len(values))
    order = np.argsort(-values[candidates], kind="stable")
    return candidates[order[:count]]
