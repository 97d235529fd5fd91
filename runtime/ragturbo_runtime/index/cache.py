"""The index beside a library's files: a cache, which can be made again from the keys at any time."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.files import replace_directory, sync_directory, sync_file
from ragturbo_runtime.index.candidates import Proposer, RankedIndex
from ragturbo_runtime.index.effort import TARGET_RECALL, choose_effort
from ragturbo_runtime.index.fingerprints import fingerprints, require_fingerprints
from ragturbo_runtime.index.kinds import (
    INDEX_KINDS,
    IndexKind,
    build_proposer,
    installed_kind,
    load_proposer,
)
from ragturbo_runtime.index.partition import leaves_of
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.manifest_text import CHECKSUM, checksum

logger: logging.Logger = logging.getLogger(__name__)

EXACT_BELOW = 20_000
"""Below this many keys an exact scan is as fast as an index (ScaNN's docs/algorithms.md)."""
_ABOUT = "index.json"
_HINT = "ragturbo library compact builds it"


@dataclass(frozen=True)
class IndexInfo:
    """What is known of an index.

    Attributes:
        kind: Who built it, ``"scann"`` or ``"faiss"``.
        count: Keys in it: the first of the library's rows.
        leaves: Its parts.
        effort: Parts that a search looks through.
        recall: Share of the 10 nearest that were found so, when it was built.
        files: sha256 of each file, by name; None of an index from before they were kept.
    """

    kind: IndexKind
    count: int
    leaves: int
    effort: int
    recall: float
    files: Mapping[str, str] | None = None


def build_index(
    directory: Path, layout: Layout, keys: NDArray[Any], *, at_least: int = EXACT_BELOW
) -> IndexInfo | None:
    """Build the index of a library, if it needs one, and put it into the library's folder.

    Args:
        directory: The library's folder.
        layout: Names the index: its ``indexed`` is the number of keys.
        keys: N stored rows, those of removed pictures included.
        at_least: Keys that it is built for.

    Returns:
        What was built; None where exact search is as good, or where neither ScaNN nor faiss is installed.

    Raises:
        OSError: The folder cannot be written.
    """
    if len(keys) < at_least:
        return None
    if (kind := installed_kind()) is None:
        logger.warning("%d keys will be searched exactly: neither scann nor faiss is installed", len(keys))
        return None
    target = directory / layout.index_folder
    beside = directory / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        info = _build(kind, beside, keys)
        about = asdict(info)
        about[CHECKSUM] = checksum(about)
        (beside / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        for path in beside.iterdir():
            sync_file(path)
        sync_directory(beside)
        replace_directory(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return info


def _build(kind: IndexKind, folder: Path, keys: NDArray[Any]) -> IndexInfo:
    proposer, leaves = build_proposer(kind, keys, folder), leaves_of(len(keys))
    effort = choose_effort(proposer, keys, leaves)
    if effort.recall < TARGET_RECALL:
        logger.warning(
            "the index finds %.3f of the neighbours, expected %.2f or more", effort.recall, TARGET_RECALL
        )
    return IndexInfo(kind, len(keys), leaves, effort.leaves, round(effort.recall, 4), fingerprints(folder))


def open_index(directory: Path, layout: Layout, keys: NDArray[Any]) -> RankedIndex | None:
    """Open the index of a library.

    Args:
        directory: The library's folder.
        layout: Names the index.
        keys: N stored rows.

    Returns:
        An index over some of the first rows, or None: there is none, or it cannot be read, which is logged. Then
        everything is searched exactly, and is right.
    """
    if len(keys) < EXACT_BELOW:
        return None
    try:
        info = read_index_info(directory, layout)
        proposer = load_index(directory / layout.index_folder, info)
    except RetrievalError as exc:
        logger.warning("%s: searching %d keys exactly: %s", directory, len(keys), exc)
        return None
    return RankedIndex(proposer, keys, info.effort)


def load_index(folder: Path, info: IndexInfo) -> Proposer:
    """Read an index whose files are those that were written.

    Args:
        folder: The index.
        info: What is known of it.

    Returns:
        It, ready to search.

    Raises:
        RetrievalError: A file was changed, or it is no index of this kind and size, or the kind is not installed.
    """
    if info.files is not None:
        require_fingerprints(folder, info.files, but=_ABOUT)
    proposer = load_proposer(info.kind, folder)
    if proposer.count != info.count:
        raise RetrievalError(f"{folder}: {proposer.count} keys, {_ABOUT} says {info.count}", hint=_HINT)
    return proposer


def read_index_info(directory: Path, layout: Layout) -> IndexInfo:
    """Read what is known of the index.

    Args:
        directory: The library's folder.
        layout: Names the index.

    Raises:
        RetrievalError: There is none, or what it says of itself cannot be.
    """
    path = directory / layout.index_folder / _ABOUT
    if not layout.indexed:
        raise RetrievalError(f"{directory}: no index was built", hint=_HINT)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about.pop(CHECKSUM, None) != (checksum(about) if "files" in about else None):
            raise ValueError("its checksum is another")
        info = IndexInfo(**about)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise RetrievalError(f"{path}: cannot be read ({exc})", hint=_HINT) from exc
    numbers = (info.count, info.leaves, info.effort)
    whole = all(type(number) is int and number > 0 for number in numbers)
    if info.kind not in INDEX_KINDS or not whole or info.effort > info.leaves or info.count != layout.indexed:
        raise RetrievalError(f"{path}: says {info}, expected {layout.indexed} keys", hint=_HINT)
    return info
