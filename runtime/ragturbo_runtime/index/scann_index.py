"""ScaNN's index: a tree over quantised keys (Guo et al., 2020, https://arxiv.org/abs/1908.10396). Linux only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.index.partition import decoded, leaves_of, training_rows
from ragturbo_runtime.library.key_rows import decode_keys

if TYPE_CHECKING:
    from scann.scann_ops.py.scann_ops_pybind import ScannSearcher

DIMENSIONS_PER_BLOCK = 2
ANISOTROPIC_THRESHOLD = 0.2
"""Of ScaNN's docs/algorithms.md."""


class ScannProposer:
    """A ScaNN index that was written by `build_scann`.

    Attributes:
        count: N keys.
    """

    def __init__(self, searcher: ScannSearcher) -> None:
        """Wrap a loaded searcher; `load_scann` reads one."""
        self._searcher = searcher
        self.count: int = int(searcher.size())

    def propose(self, queries: Keys, candidates: int, effort: int) -> NDArray[np.int64]:
        """Propose rows: see `ragturbo_runtime.index.candidates.Proposer`.

        Raises:
            RetrievalError: ScaNN refused the queries (wrong width, NaN).
        """
        try:
            rows, _ = self._searcher.search_batched(
                queries, final_num_neighbors=candidates, leaves_to_search=effort
            )
        except Exception as exc:
            raise RetrievalError(f"ScaNN refused queries of shape {queries.shape} ({exc})") from exc
        proposed: NDArray[np.int64] = rows.astype(np.int64)
        proposed[(proposed < 0) | (proposed >= self.count)] = -1  # where it found fewer
        return proposed


def build_scann(keys: NDArray[Any], directory: Path) -> ScannProposer:
    """Build an index and write it into a folder. No document ids are stored: they would be pickled.

    Args:
        keys: N stored rows, from `ragturbo_runtime.library.key_rows`.
        directory: It is made. It can be moved: the paths in it are relative.

    Returns:
        The index.

    Raises:
        RetrievalError: scann is not installed.
        OSError: The folder cannot be written.
    """
    rows = training_rows(len(keys))
    searcher = _trained(decode_keys(keys[rows]), leaves_of(len(keys)))
    if len(rows) < len(keys):
        _put(searcher.searcher, keys, len(rows))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        searcher.serialize(str(directory), relative_path=True)
    except RuntimeError as exc:
        raise OSError(f"{directory}: ScaNN cannot write its index ({exc})") from exc
    return ScannProposer(searcher)


def _trained(keys: Keys, leaves: int) -> ScannSearcher:
    """Build an index of (n, E) unit vectors; parts of unit vectors are unit vectors (spherical k-means).

    Otherwise the mean of many clusters is short, its product with any query small, and what is in it is never found.
    """
    builder = _scann().builder(keys, 10, "dot_product")
    builder = builder.tree(leaves, leaves, training_sample_size=len(keys), spherical=True)
    builder = builder.score_ah(DIMENSIONS_PER_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD)
    return builder.build()


def _put(searcher: Any, keys: NDArray[Any], known: int) -> None:  # noqa: ANN401 - scann has no type information
    """Put every key into the place that its row has: the first ``known`` places are those of the training's keys.

    ScaNN's own way through document ids would keep N of them, and it holds three copies of all that it builds from.
    """
    searcher.reserve(len(keys))
    start = 0
    for some in decoded(keys):
        rows = range(start, start + len(some))
        places = searcher.upsert([row if row < known else None for row in rows], some, len(some))
        if list(places) != list(rows):
            raise RetrievalError(
                f"ScaNN put keys {start} to {rows[-1]} elsewhere",
                hint="install the scann that this ragturbo asks for",
            )
        start += len(some)


def load_scann(directory: Path) -> ScannProposer:
    """Read an index folder.

    Args:
        directory: Written by `build_scann`; may have been moved since.

    Raises:
        RetrievalError: scann is not installed, or the folder holds no index, or one with pickled ids.
    """
    ops = _scann()
    if (directory / "scann_docids.pkl").exists():
        raise RetrievalError(
            f"{directory}: holds pickled ids, which are never loaded", hint="build the index again"
        )
    try:
        return ScannProposer(ops.load_searcher(str(directory)))
    except Exception as exc:
        raise RetrievalError(
            f"{directory}: not a ScaNN index ({exc})", hint="build the index again from the library's keys"
        ) from exc


def has_scann() -> bool:
    """Whether the scann package is installed (it has wheels for Linux only). Does not import it."""
    return find_spec("scann") is not None


def _scann() -> Any:  # noqa: ANN401 - scann has no type information
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as exc:
        raise RetrievalError(f"scann cannot be imported ({exc})", hint="pip install scann (Linux)") from exc
    return scann_ops_pybind
