"""One writer at a time, in all processes: an advisory lock on a file that the system frees when its process ends."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import TracebackType

from ragturbo_runtime.errors import LibraryLockedError, OutputError
from ragturbo_runtime.library.layout import LOCK_FILE

_held: set[Path] = set()
_guard = threading.Lock()


class WriterLock:
    """Held from its making to `release`, or within a ``with`` block."""

    def __init__(self, directory: Path) -> None:
        """Take the lock, or fail at once.

        Args:
            directory: The library's folder.

        Raises:
            LibraryLockedError: Another writer has it.
            OutputError: The folder cannot be written.
        """
        self._path = (directory / LOCK_FILE).resolve()
        with _guard:  # a process may lock a file twice
            if self._path in _held:
                raise _locked(directory, "this process")
            try:
                self._file = self._path.open("a+b")
            except OSError as exc:
                raise OutputError(
                    f"{directory}: cannot be written ({exc.strerror})",
                    path=directory,
                    hint="copy it to a writable folder",
                ) from exc
            try:
                _lock(self._file.fileno())
            except OSError as exc:
                self._file.close()
                raise _locked(directory, "another process") from exc
            _held.add(self._path)

    def release(self) -> None:
        """Let other writers in. Releasing twice does nothing."""
        with _guard:
            if not self._file.closed:
                _unlock(self._file.fileno())
                self._file.close()
                _held.discard(self._path)

    def __enter__(self) -> WriterLock:
        """Return the lock itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


def _locked(directory: Path, who: str) -> LibraryLockedError:
    return LibraryLockedError(
        f"{directory}: {who} is writing to this library, and there is one writer at a time",
        hint="wait for it, then try again",
    )


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    """Closing would do, but for a child that was forked meanwhile and holds the file open."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
