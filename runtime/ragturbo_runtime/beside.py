"""Work in a thread of its own, beside what the caller goes on with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def run_beside(work: Callable[[], Result]) -> Future[Result]:
    """Start work in a new thread.

    A thread per call, and no pool: a pool's threads are gone after a fork, and it takes no more work once the main
    thread has ended, while a host may well draw then. Starting one takes some 50 microseconds.

    Args:
        work: What to do. Where no thread can be had it runs at once, in the caller's.

    Returns:
        Its result, or what it raised, when it is done.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:
            future.set_exception(exc)

    try:
        Thread(target=run, name="ragturbo-retrieval").start()
    except RuntimeError:  # the interpreter ends, or the system has no thread left
        run()
    return future
