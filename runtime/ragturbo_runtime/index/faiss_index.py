"""faiss's index, for systems that ScaNN has no wheels for: parts, and products with quantised keys.

André, Kermarrec, Le Scouarnec, 2021, "Quicker ADC", https://arxiv.org/abs/1812.09162: the codes of 4 bits.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index.partition import decoded, leaves_of, training_rows
from ragturbo_runtime.library.key_rows import decode_keys

_FILE = "index.faiss"


class FaissProposer:
    """A faiss index that was written by `build_faiss`.

    Attributes:
        count: N keys.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - faiss has no type information
        """Wrap an IndexIVFPQFastScan; `load_faiss` reads one."""
        self._index = index
        self.count: int = int(index.ntotal)

    def propose(self, queries: Keys, candidates: int, effort: int) -> NDArray[np.int64]:
        """Propose rows: see `ragturbo_runtime.index.candidates.Proposer`.

        Raises:
            RetrievalError: faiss refused the queries (wrong width).
        """
        faiss = _faiss()
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # for this thread: others would take the cores that the graphs run on
        try:
            settings = faiss.IVFSearchParameters(nprobe=effort)
            _, rows = self._index.search(queries, candidates, params=settings)
        except Exception as exc:
            raise RetrievalError(f"faiss refused queries of shape {queries.shape} ({exc!r})") from exc
        finally:
            faiss.omp_set_num_threads(threads)
        return np.asarray(rows, np.int64)


def build_faiss(keys: NDArray[Any], directory: Path) -> FaissProposer:
    """Build an index and write it into a folder.

    Args:
        keys: N stored rows, from `ragturbo_runtime.library.key_rows`.
        directory: It is made. It can be moved.

    Returns:
        The index.

    Raises:
        RetrievalError: faiss is not installed.
        OSError: The folder cannot be written.
    """
    faiss = _faiss()
    index = _trained(decode_keys(keys[training_rows(len(keys))]), leaves_of(len(keys)))
    for some in decoded(keys):
        index.add(some)
    directory.mkdir(parents=True, exist_ok=True)
    # By way of memory: faiss opens files by names that Windows reads as its code page's.
    faiss.serialize_index(index).tofile(directory / _FILE)
    return FaissProposer(index)


def _trained(keys: Keys, leaves: int) -> Any:  # noqa: ANN401 - an IndexIVFPQFastScan
    """Learn from (n, E) unit vectors: parts by spherical k-means, then codes of 4 bits for every two dimensions."""
    width = keys.shape[1]
    codes = width // 2 if width % 2 == 0 else width
    index = _faiss().index_factory(width, f"IVF{leaves},PQ{codes}x4fs", _faiss().METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # else it prints a warning
    index.train(keys)
    return index


def load_faiss(directory: Path) -> FaissProposer:
    """Read an index folder.

    Args:
        directory: Written by `build_faiss`; may have been moved since.

    Raises:
        RetrievalError: faiss is not installed, or the folder holds no index.
    """
    faiss = _faiss()
    try:
        index = faiss.deserialize_index(np.fromfile(directory / _FILE, np.uint8))
    except Exception as exc:
        raise RetrievalError(
            f"{directory}: not a faiss index ({exc})", hint="build the index again from the library's keys"
        ) from exc
    if not isinstance(index, faiss.IndexIVFPQFastScan):
        kind = type(index).__name__
        raise RetrievalError(
            f"{directory / _FILE}: a {kind}, expected an IndexIVFPQFastScan",
            hint="build the index again from the library's keys",
        )
    return FaissProposer(index)


def has_faiss() -> bool:
    """Whether the faiss package is installed. Does not import it."""
    return find_spec("faiss") is not None


def _faiss() -> Any:  # noqa: ANN401 - faiss has no type information
    try:
        import faiss
    except ImportError as exc:
        raise RetrievalError(
            f"faiss cannot be imported ({exc})", hint='pip install "ragturbo-sdk[faiss]"'
        ) from exc
    return faiss
