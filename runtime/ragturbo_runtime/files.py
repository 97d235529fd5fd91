"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from ragturbo_runtime.errors import OutputError
from ragturbo_runtime.manifest import FileEntry

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file beside its place, sync it and rename it: a reader sees the old file or the new one.

    Args:
        path: The file; its folder exists.
        data: The whole content.

    Returns:
        The path.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full; nothing is left behind, as
            after Ctrl-C.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        raise OutputError(
            f"{path}: cannot be written ({exc.strerror or exc})", path=path, hint="choose a writable folder"
        ) from exc
    finally:
        with contextlib.suppress(OSError):  # it is there only after a failure, Ctrl-C included
            temporary.unlink()
    _sync_if_possible(path.parent)
    return path


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_entry(root: Path, file: str) -> FileEntry:
    """Return the manifest entry of a file.

    Args:
        root: The bundle folder.
        file: Path inside it, forward slashes.

    Returns:
        Path, sha256 and size in bytes.
    """
    path = root / file
    return FileEntry(file=file, sha256=hash_file(path), bytes=path.stat().st_size)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    # Windows flushes only what is open for writing; elsewhere a file need not be writable.
    with path.open("rb" if os.name == "posix" else "r+b") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Flush a folder's entries to the disk, where the platform can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_if_possible(path: Path) -> None:
    """Flush a folder's entries after a rename: what was renamed is in its place, whatever this says.

    A network file system may refuse it, and an error now would call a file missing that is there.
    """
    with contextlib.suppress(OSError):
        sync_directory(path)


def replace_directory(new: Path, target: Path) -> None:
    """Put a finished folder in the place of another, which is then deleted.

    On Linux the two are exchanged in one step, so that a reader finds the old or the new one at every moment.
    Elsewhere there are two renames; if the second fails, the first is undone.

    Args:
        new: The finished folder, on the same file system.
        target: Its place; may exist.

    Raises:
        OSError: The folders cannot be renamed; the old one is still in its place.
    """
    if not target.exists():
        os.rename(new, target)
    elif _exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
    else:
        _replace_in_two_steps(new, target)
    _sync_if_possible(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths by renameat2(2); False where the platform or the file system has no such call."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    status = renameat2(
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(first)),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(second)),
        ctypes.c_uint(_RENAME_EXCHANGE),
    )
    return bool(status == 0)


def _replace_in_two_steps(new: Path, target: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    os.rename(target, old / target.name)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(old / target.name, target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
