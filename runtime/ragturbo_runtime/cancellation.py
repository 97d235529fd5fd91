"""Stopping a drawing from another thread.

The token of a call travels with it as a context variable: every graph that the call runs, in whichever thread, can
be told to stop, and nothing between the call and the graph needs to know.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ragturbo_runtime.errors import GenerationCancelledError

if TYPE_CHECKING:
    import onnxruntime

_current: ContextVar[CancelToken | None] = ContextVar("ragturbo_cancel_token", default=None)


class CancelToken:
    """Asks drawings to stop. Make one, give it to one or more calls, and ``cancel()`` from any thread."""

    def __init__(self) -> None:
        """Nothing is cancelled yet."""
        self._lock = threading.Lock()
        self._cancelled = False
        self._running: set[onnxruntime.RunOptions] = set()
        self._listeners: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel()`` was called. It stays so: further calls with this token raise at once."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop: calls that draw with this token raise GenerationCancelledError. Cancelling twice does nothing."""
        with self._lock:
            self._cancelled = True
            for options in self._running:
                options.terminate = True
            listeners, self._listeners = self._listeners, []
        for call in listeners:
            call()

    def raise_if_cancelled(self) -> None:
        """Raise if ``cancel()`` was called.

        Raises:
            GenerationCancelledError: It was.
        """
        if self._cancelled:
            raise GenerationCancelledError("the drawing was cancelled", hint="draw with another CancelToken")

    @contextlib.contextmanager
    def stopping(self, options: onnxruntime.RunOptions) -> Iterator[onnxruntime.RunOptions]:
        """Let ``cancel()`` end what runs with these options: ONNX Runtime looks at them between two operators."""
        with self._lock:
            self.raise_if_cancelled()
            self._running.add(options)
        try:
            yield options
        finally:
            with self._lock:
                self._running.discard(options)

    @contextlib.contextmanager
    def calling(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call something when it is cancelled, at once if it was; not after the ``with`` block."""
        with self._lock:
            told = self._cancelled
            if not told:
                self._listeners.append(listener)
        if told:
            listener()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(listener)


def current_token() -> CancelToken | None:
    """The token of the call that this code works for."""
    return _current.get()


@contextlib.contextmanager
def cancellable(token: CancelToken | None) -> Iterator[None]:
    """Work for a call with this token within the ``with`` block."""
    if token is not None:
        token.raise_if_cancelled()
    reset = _current.set(token)
    try:
        yield
    finally:
        _current.reset(reset)
