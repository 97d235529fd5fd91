"""Listening on this machine, and on no other address."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ragturbo_sdk.checks import check_integer
from ragturbo_sdk.errors import InvalidInputError
from ragturbo_sdk.playground.environment import HOST
from ragturbo_sdk.playground.style import CSS

if TYPE_CHECKING:
    import gradio

_ANY = "--port 0 takes any that is free"


def free_port(port: int) -> int:
    """Check that a port can be listened on.

    Args:
        port: 1 to 65535, or 0 for any.

    Returns:
        The port.

    Raises:
        InvalidInputError: There is no such port, or it cannot be used.
    """
    check_integer("port", port, 0, 65_535, hint=_ANY)
    with socket.socket() as trial:
        if os.name == "posix":  # elsewhere this would allow to take another program's port
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise _unusable(port, error) from error
        number: int = trial.getsockname()[1]
    return number


@contextmanager
def listening(page: gradio.Blocks, port: int) -> Iterator[str]:
    """Serve a page until the end of the block.

    Args:
        page: The page.
        port: A free one.

    Yields:
        Its address.

    Raises:
        InvalidInputError: Another program took the port meanwhile.
    """
    import gradio
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A page of the web that calls itself by a name which leads here is refused.
    ours = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            root_path="",
            footer_links=[],
            theme=_theme(),
            css=CSS,
            app_kwargs={"middleware": [ours]},
        )
    except (OSError, gradio.exceptions.ServerFailedToStartError) as error:
        raise _unusable(port, error) from error
    try:
        yield f"http://{HOST}:{port}/"
    finally:
        page.close(verbose=False)


def _theme() -> gradio.themes.Base:
    """Gradio's own, in the fonts that the machine has: nothing is fetched."""
    import gradio

    theme = gradio.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    # As it comes, small print is too pale to be read.
    return theme.set(body_text_color_subdued="*neutral_500", block_info_text_color="*neutral_500")


def _unusable(port: int, error: Exception) -> InvalidInputError:
    what = getattr(error, "strerror", None) or error
    return InvalidInputError(f"port {port} of {HOST} cannot be used ({what})", argument="port", hint=_ANY)
