"""Hashes of an index's files: neither ScaNN nor faiss can be given a file in which a byte has changed.

ScaNN 1.4.2 ends the process (SIGABRT) or finds others than the nearest keys, faiss proposes rows that are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.files import hash_file


def fingerprints(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a folder, by name.

    Raises:
        OSError: A file cannot be read.
    """
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}


def require_fingerprints(folder: Path, expected: Mapping[str, str], *, but: str) -> None:
    """Refuse files that are not those that were written.

    Args:
        folder: The index.
        expected: What `fingerprints` returned when it was built.
        but: Name of a file that does not count.

    Raises:
        RetrievalError: A file was changed, is missing, or was not there.
    """
    try:
        found = {path.name: path for path in folder.iterdir() if path.name != but}
        if strange := found.keys() ^ expected.keys():
            raise RetrievalError(f"{folder / min(strange)}: missing, or not a file of the index")
        for name, path in found.items():
            if not path.is_file() or hash_file(path) != expected[name]:
                raise RetrievalError(f"{path}: is not what was written (its sha256 is another)")
    except OSError as exc:
        raise RetrievalError(f"{folder}: cannot be read ({exc})") from exc
