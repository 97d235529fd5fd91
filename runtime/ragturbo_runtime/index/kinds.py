"""Which approximate indexes there are, and which of them this installation can build and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from ragturbo_runtime.index.candidates import Proposer
from ragturbo_runtime.index.faiss_index import build_faiss, has_faiss, load_faiss
from ragturbo_runtime.index.scann_index import build_scann, has_scann, load_scann

IndexKind = Literal["scann", "faiss"]
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
"""The first one that is installed builds."""


def is_installed(kind: IndexKind) -> bool:
    """Whether indexes of a kind can be built and read here. Imports nothing."""
    return has_scann() if kind == "scann" else has_faiss()


def installed_kind() -> IndexKind | None:
    """Return the kind that is built here; None where there is none."""
    return next((kind for kind in INDEX_KINDS if is_installed(kind)), None)


def build_proposer(kind: IndexKind, keys: NDArray[Any], directory: Path) -> Proposer:
    """Build an index and write it into a folder.

    Args:
        kind: Which.
        keys: N stored rows, from `ragturbo_runtime.library.key_rows`.
        directory: It is made. It can be moved.

    Raises:
        RetrievalError: It is not installed.
        OSError: The folder cannot be written.
    """
    return build_scann(keys, directory) if kind == "scann" else build_faiss(keys, directory)


def load_proposer(kind: IndexKind, directory: Path) -> Proposer:
    """Read an index folder.

    Args:
        kind: What its ``index.json`` says.
        directory: Written by `build_proposer`; may have been moved since.

    Raises:
        RetrievalError: The kind is not installed, or the folder holds no index of it.
    """
    return load_scann(directory) if kind == "scann" else load_faiss(directory)
