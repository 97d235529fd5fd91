"""Walks a tar archive that somebody else made: where each file's bytes are, and where the archive is damaged.

The standard library's reader ends at a damaged header as it ends at the archive's end, and hands out a file whose
bytes are not all there. Both are found out here. Nothing is unpacked.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

_END = bytes(tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Member:
    """One thing in an archive that is no folder.

    Attributes:
        name: As the archive has it.
        offset: Of its first byte in the archive's file.
        size: Bytes.
        fault: Why its bytes cannot be read there, or None.
    """

    name: str
    offset: int
    size: int
    fault: str | None


def read_members(file: IO[bytes]) -> Iterator[Member]:
    """List what is in an archive, in its order. Between two members the file's position may be changed.

    Args:
        file: An archive without compression, open for reading.

    Yields:
        Everything but folders.

    Raises:
        tarfile.ReadError: The rest of the archive is missing or damaged; what was yielded is not.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (info := archive.next()) is not None:
                if info.size < 0 or archive.offset < info.offset_data:  # and from there round and round
                    raise tarfile.ReadError(f"{info.name!r} has a negative size")
                if not info.isdir():
                    yield Member(info.name, info.offset_data, info.size, _fault(info, length))
            _require_end(file, archive.offset)
    except tarfile.ReadError:
        raise
    # A header is numbers and texts in five dialects: ValueError, OverflowError, UnicodeError, RecursionError.
    except Exception as error:
        raise tarfile.ReadError(str(error) or type(error).__name__) from error


def _fault(info: tarfile.TarInfo, length: int) -> str | None:
    if not info.isreg() or info.issparse():
        return "is not a regular file"
    if info.offset_data + info.size > length:
        return f"is cut off: it has {info.size:,} bytes, the archive ends after {length - info.offset_data:,}"
    return None


def _require_end(file: IO[bytes], offset: int) -> None:
    """Refuse an archive that ends in something else than zeros."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(
            f"it ends at byte {offset + len(block):,} without an end mark: it was cut off"
        )
    if block != _END:
        raise tarfile.ReadError(f"damaged header at byte {offset:,}")
    if any(rest.strip(b"\0") for rest in iter(partial(file.read, 1 << 20), b"")):
        raise tarfile.ReadError(f"more follows after the end mark at byte {offset:,}")
