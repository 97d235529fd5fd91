"""Whether gradio is here: ``pip install "ragturbo-sdk[cpu]"`` alone brings no page."""

from __future__ import annotations

from ragturbo_sdk.errors import RagTurboError

OLDEST = 6
"""Gradio's first release that takes its theme where the page gives it."""
_HINT = 'pip install "ragturbo-sdk[playground]"'


def require_gradio() -> None:
    """Import gradio, or say how to get it.

    Raises:
        RagTurboError: It is not installed, cannot be imported, or is too old.
    """
    try:
        import gradio
    except ImportError as error:
        message = f"the playground needs gradio, which cannot be imported ({error})"
        raise RagTurboError(message, hint=_HINT) from error
    if int(gradio.__version__.split(".")[0]) < OLDEST:
        message = f"gradio is {gradio.__version__}, expected {OLDEST}.0 or newer"
        raise RagTurboError(message, hint=f'pip install --upgrade "gradio>={OLDEST}"')
