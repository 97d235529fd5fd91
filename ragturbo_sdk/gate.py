"""How many calls draw at once, and closing, which waits for them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ragturbo_sdk.errors import GeneratorClosedError


class Gate:
    """Lets so many threads in at once; the others wait."""

    def __init__(self, at_once: int) -> None:
        """Open it.

        Args:
            at_once: Threads inside, 1 or more.
        """
        self._at_once = at_once
        self._inside: set[int] = set()
        self._closed = False
        lock = threading.Lock()
        # Apart, so that each who leaves wakes one who waits: all of them at once would take turns with the graphs.
        self._room, self._left = threading.Condition(lock), threading.Condition(lock)

    def require_open(self) -> None:
        """Raise if it was closed.

        Raises:
            GeneratorClosedError: It was, or this thread is inside already.
        """
        if self._closed:
            raise GeneratorClosedError("the generator was closed", hint="make a new Generator")
        self._refuse_to_wait_for_oneself("draw")

    def has_room(self) -> bool:
        """Whether a thread that came now would not have to wait."""
        return len(self._inside) < self._at_once

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Work inside; wait for a place.

        Raises:
            GeneratorClosedError: It was closed, or this thread is inside already.
        """
        thread = threading.get_ident()
        with self._room:
            self.require_open()
            try:
                self._room.wait_for(lambda: self._closed or len(self._inside) < self._at_once)
            except BaseException:  # Ctrl-C: it may be this thread that was woken, and nobody else will be
                self._room.notify()
                raise
            self.require_open()
            self._inside.add(thread)
        try:
            yield
        finally:
            with self._room:
                self._inside.discard(thread)
                self._room.notify()
                self._left.notify_all()

    def close(self) -> bool:
        """Let nobody in any more, and wait until nobody is inside.

        Returns:
            Whether it was open.

        Raises:
            GeneratorClosedError: This thread is inside.
        """
        with self._left:
            self._refuse_to_wait_for_oneself("close")
            was_open, self._closed = not self._closed, True
            self._room.notify_all()
            self._left.wait_for(lambda: not self._inside)
        return was_open

    def _refuse_to_wait_for_oneself(self, what: str) -> None:
        if threading.get_ident() in self._inside:
            raise GeneratorClosedError(
                f"a progress callback may not {what} with the generator that calls it: it would wait for itself",
                hint="give it a CancelToken to stop the drawing, or use another thread or a clone",
            )
