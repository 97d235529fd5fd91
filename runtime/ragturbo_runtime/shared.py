"""Something that several owners hold, and that is closed when the last lets go of it."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of what it holds."""


Value = TypeVar("Value", bound=Closeable)


class Shared(Generic[Value]):
    """A value and the number of its owners.

    Attributes:
        value: What is shared.
    """

    def __init__(self, value: Value) -> None:
        """Begin with one owner."""
        self.value = value
        self._lock = threading.Lock()
        self._owners = 1

    def held(self) -> Shared[Value]:
        """Count one owner more, and return the same."""
        with self._lock:
            self._owners += 1
        return self

    def release(self) -> None:
        """Count one owner less; without any the value is closed."""
        with self._lock:
            self._owners -= 1
            last = self._owners == 0
        if last:
            self.value.close()
