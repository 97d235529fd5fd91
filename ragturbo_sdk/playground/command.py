"""``ragturbo playground``: opens what it needs, says where it listens, and stays until it is interrupted."""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from ragturbo_sdk.cli.answer import Answer
from ragturbo_sdk.playground.environment import quiet_environment


def run_playground(arguments: argparse.Namespace) -> Answer:
    """Begin to serve the page.

    Args:
        arguments: As :func:`ragturbo_sdk.cli.arguments.parse` gave them.

    Returns:
        The address, and what waits for the interruption after it was printed.

    Raises:
        RagTurboError: Gradio is missing, the port cannot be used, or the model cannot be opened.
    """
    with ExitStack() as opened:
        opened.enter_context(_terminated_is_interrupted())
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="ragturbo-playground-")))
        opened.enter_context(quiet_environment(folder / "uploads"))
        url, library = _open(arguments, opened, folder)
        stay = partial(_stay, opened.pop_all(), None if arguments.no_browser else url)
    if arguments.json:
        return Answer(json.dumps({"url": url, "library": library}, ensure_ascii=False), afterwards=stay)
    return Answer(f"the playground listens on {url} (Ctrl-C ends it)", afterwards=stay)


def _open(arguments: argparse.Namespace, opened: ExitStack, folder: Path) -> tuple[str, str | None]:
    """Address and library; null for one that will be gone."""
    from ragturbo_sdk.playground.requirement import require_gradio

    require_gradio()
    from ragturbo_sdk.playground.page import build_page
    from ragturbo_sdk.playground.serving import free_port, listening
    from ragturbo_sdk.playground.session import open_session

    port = free_port(arguments.port)
    session = opened.enter_context(
        open_session(
            arguments.bundle,
            library=arguments.library,
            copies=folder,
            device=arguments.device,
            threads=arguments.threads,
            memory_limit=arguments.memory_limit,
            cuda_graphs=arguments.cuda_graphs,
        )
    )
    url = opened.enter_context(listening(build_page(session), port))
    return url, None if session.temporary else str(session.generator.library.path)


def _stay(opened: ExitStack, url: str | None, status: int) -> None:
    """Wait until somebody interrupts, and close everything.

    Args:
        opened: What is to be closed.
        url: To show in the browser, or None.
        status: Whether the address could be printed; else nobody knows it, and there is nothing to wait for.
    """
    with opened:
        if status == 0 and url is not None:
            webbrowser.open(url)
        while status == 0:
            time.sleep(3600)


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that the temporary folder goes with it."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
