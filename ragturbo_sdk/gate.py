"""How many calls draw at once, and closing, which waits for them."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from ragturbo_sdk.errors import GeneratorClosedError


class Gate:
    """Lets so many threads in at once; the others wait in line: whoever came first is let in first."""

    def __init__(self, at_once: int) -> None:
        """Open it.

        Args:
            at_once: Threads inside, 1 or more.
        """
        self._at_once = at_once
        self._inside: set[int] = set()
        self._line: deque[object] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def require_open(self) -> None:
        """Raise if it was closed.

        Raises:
            GeneratorClosedError: It was.
        """
        if self._closed:
            raise GeneratorClosedError("the generator was closed", hint="make a new Generator")

    def require_outside(self, what: str = "draw") -> None:
        """Raise if this thread is inside: it would wait for itself.

        Args:
            what: What it wants, for the message.

        Raises:
            GeneratorClosedError: It is.
        """
        if threading.get_ident() in self._inside:
            raise GeneratorClosedError(
                f"a progress callback may not {what} with the generator that calls it: it would wait for itself",
                hint="give it a CancelToken to stop the drawing, or use another thread or a clone",
            )

    def has_room(self) -> bool:
        """Whether a thread that came now would not have to wait."""
        return not self._line and len(self._inside) < self._at_once

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Work inside; wait for a place.

        Raises:
            GeneratorClosedError: It was closed, or this thread is inside already.
        """
        self.require_outside()
        try:  # from here on Ctrl-C may come anywhere: a place that is taken is given back
            with self._changed:
                self._take_place()
            yield
        finally:
            with self._changed:
                self._inside.discard(threading.get_ident())
                self._changed.notify_all()

    def close(self) -> bool:
        """Let nobody in any more, and wait until nobody is inside.

        Returns:
            Whether it was open.

        Raises:
            GeneratorClosedError: This thread is inside.
        """
        with self._changed:
            self.require_outside("close")
            was_open, self._closed = not self._closed, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._inside)
        return was_open

    def _take_place(self) -> None:
        """Wait in line until there is room."""
        mine = object()
        self._line.append(mine)
        try:
            self._changed.wait_for(
                lambda: self._closed or (self._line[0] is mine and len(self._inside) < self._at_once)
            )
            self.require_open()
            self._inside.add(threading.get_ident())
        finally:
            self._line.remove(mine)
            self._changed.notify_all()
