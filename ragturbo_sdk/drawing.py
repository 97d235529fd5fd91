"""A pipeline in its host: how many calls draw at once, in which thread, in which process, and until when."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from ragturbo_runtime.beside import Beside
from ragturbo_runtime.cancellation import CancelToken
from ragturbo_runtime.cores import busy_cores, usable_cores
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.progress import DrawProgress
from ragturbo_runtime.requests import DrawRequest, DrawResult
from ragturbo_sdk.errors import WrongProcessError
from ragturbo_sdk.gate import Gate
from ragturbo_sdk.reference import Reference, keep
from ragturbo_sdk.telemetry import event

logger: logging.Logger = logging.getLogger(__name__)

Tell = Callable[[DrawProgress], object] | None


class Drawn(NamedTuple):
    """What a call has drawn; it needs the pipeline no more."""

    result: DrawResult
    references_of: tuple[tuple[Reference, ...], ...]
    """Those of the result, with their pictures."""


class Drawing:
    """Draws for many threads.

    Attributes:
        pipeline: What draws.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """Take a pipeline over; ``close`` closes it."""
        self.pipeline: Pipeline = pipeline
        self._process = os.getpid()
        at_once = side_by_side(pipeline.bundle.manifest.is_large, pipeline.threads, usable_cores())
        self._gate = Gate(at_once)
        self._threads = Beside("ragturbo-draw", threads=at_once)

    def require_usable(self) -> None:
        """Raise if it cannot draw, before anything is done.

        Raises:
            GeneratorClosedError: It was closed.
            WrongProcessError: This is a fork of the process that loaded the model.
        """
        if os.getpid() != self._process:
            raise WrongProcessError(
                f"the generator was loaded by process {self._process}, this is process {os.getpid()}, a fork of it: "
                "the threads that draw have stayed behind",
                hint="make a new Generator in this process, or start processes with multiprocessing's 'spawn'",
            )
        self._gate.require_open()

    def draw(self, request: DrawRequest, cancel: CancelToken | None, progress: Tell) -> Drawn:
        """Draw in this thread; with a token in another, so that cancelling it returns at once.

        Who would have to wait lets another thread draw too: callers who take turns are 4 to 10 % slower than one
        caller (docs/pitfalls.md); the thread that draws for all of them stays. Not so where the caller's is a daemon
        thread: the interpreter's end would wait for the other.

        Args:
            request: What to draw.
            cancel: Stops it.
            progress: Is told of each stage; without a token in this thread.

        Raises:
            GenerationCancelledError: It was cancelled.
            RagTurboError: As ``Pipeline.draw``, and as ``require_usable``.
        """
        self.require_usable()
        self._gate.require_outside()
        if cancel is None and (progress is not None or _is_daemon() or self._gate.has_room()):
            return self._draw(request, None, progress)
        token = CancelToken() if cancel is None else cancel
        token.raise_if_cancelled()
        try:
            return _wait(self._draw_beside(request, token, progress), token)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: nobody waits for it any more
            token.cancel()
            raise

    async def adraw(self, request: DrawRequest, cancel: CancelToken | None, progress: Tell) -> Drawn:
        """Draw in another thread; cancelling the task stops it. Otherwise as ``draw``."""
        self.require_usable()
        self._gate.require_outside()
        token = CancelToken() if cancel is None else cancel
        token.raise_if_cancelled()
        drawn = self._draw_beside(request, token, progress)
        try:
            return await _first(drawn, token)
        except asyncio.CancelledError:
            token.cancel()
            raise

    def warm_up(self, pictures: int) -> None:
        """Draw once with and once without references: see ``Pipeline.warm_up``."""
        self.require_usable()
        with self._gate.inside():
            self.pipeline.warm_up(pictures)

    def close(self) -> None:
        """Wait for the calls that are being drawn, and free the model. Closing twice does nothing."""
        if os.getpid() == self._process and self._gate.close():
            self._threads.close()
            self.pipeline.close()

    def _draw_beside(self, request: DrawRequest, cancel: CancelToken, progress: Tell) -> Future[Drawn]:
        asked = time.perf_counter()  # what is logged and traced includes the wait
        return self._threads.run(lambda: self._draw(request, cancel, progress, asked))

    def _draw(
        self, request: DrawRequest, cancel: CancelToken | None, progress: Tell, asked: float | None = None
    ) -> Drawn:
        with event(logger, logging.DEBUG, "generate", start=asked) as drawing, self._gate.inside():
            drawing.about |= {
                "pictures": len(request.prompts),
                "steps": int(request.steps),
                "references": int(request.references),
                "strength": float(request.strength),
                "bundle": self.pipeline.bundle.manifest.name,
                "device": self.pipeline.device,
            }
            drawn = self.pipeline.draw(request, cancel=cancel, progress=progress)
            drawing.parts = drawn.intervals
            # Here, while closing still waits: afterwards there is no library to read them from.
            return Drawn(drawn, tuple(tuple(keep(used) for used in own) for own in drawn.references))


def side_by_side(is_large: bool, threads: int | None, cores: int) -> int:
    """Say how many calls draw the most pictures a second (tests/sdk/test_throughput.py).

    Args:
        is_large: Whether a call takes gigabytes; its graphs keep all cores busy.
        threads: Of each graph; None for one per core.
        cores: Of this machine.

    Returns:
        1 or more. Where there is room for several calls, six more of them use what the others leave while they are
        between two graphs, or wait for Python's lock: with two cores and threads=1, four calls at once use 96 % of
        the cores, eight 98 %.
    """
    fill = cores // busy_cores(is_large, threads, cores)
    return fill if fill == 1 else fill + 6


def _wait(drawn: Future[Drawn], cancel: CancelToken) -> Drawn:
    """Wait for the result or for the token. A cancelled drawing ends by itself, at the graph's next operator."""
    woken = threading.Event()
    drawn.add_done_callback(lambda _: woken.set())
    with cancel.calling(woken.set):
        woken.wait()
    if not drawn.done():
        cancel.raise_if_cancelled()
    try:
        return drawn.result()
    finally:
        del drawn  # an error in it holds this frame: a circle, which would keep the call's tensors


def _is_daemon() -> bool:
    return threading.current_thread().daemon


async def _first(drawn: Future[Drawn], cancel: CancelToken) -> Drawn:
    """As ``_wait``, for a task."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake(_: object = None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    drawn.add_done_callback(wake)
    with cancel.calling(wake):
        await woken.wait()
    if not drawn.done():
        cancel.raise_if_cancelled()
    return drawn.result()
