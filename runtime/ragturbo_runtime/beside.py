"""Work in another thread, beside what the caller goes on with."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Result = TypeVar("Result")


class Beside:
    """Threads that stay for the next piece of work: ONNX Runtime is 4 ms slower in a thread that is new to it.

    Several threads may ask at once. It still works in a child after a fork, where the threads are gone, and once the
    main thread has ended, when Python's pools take no more work: a host may well draw then.
    """

    def __init__(
        self, name: str = "ragturbo-retrieval", *, threads: int | None = None, inline: bool = False
    ) -> None:
        """Start no thread yet.

        Args:
            name: What the threads are called.
            threads: The most of them; None for Python's choice, some more than there are cores.
            inline: Work in the caller's thread after all: where no core is free, two at once take longer than one
                after the other.
        """
        self._name, self._threads, self._inline = name, threads, inline
        self._process, self._pool = os.getpid(), self._new_pool()

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Start work in another thread, with the caller's context variables.

        Args:
            work: What to do. Where no thread can be had it is done at once, in the caller's.

        Returns:
            Its result, or what it raised, when it is done.
        """
        if self._inline:
            return _done(work)
        if self._process != os.getpid():
            self._process, self._pool = os.getpid(), self._new_pool()
        try:
            return self._pool.submit(copy_context().run, work)
        except RuntimeError as exc:  # the interpreter ends, or the system has no thread left
            if isinstance(exc.__context__, KeyboardInterrupt):
                # Ctrl-C met the pool between two holds of its lock, which it then could not let go of.
                raise exc.__context__ from None
            return _done(work)

    def close(self) -> None:
        """Wait for what is under way and end the threads; later work is done in the caller's."""
        self._pool.shutdown()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)


def _done(work: Callable[[], Result]) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(work())
    except Exception as exc:
        future.set_exception(exc)
    return future
