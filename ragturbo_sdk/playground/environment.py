"""What gradio reads from the environment, set while the command runs and put back after it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"


@contextmanager
def quiet_environment(folder: Path) -> Iterator[None]:
    """Keep it from asking a network, what is uploaded in one folder, and its warnings off the terminal.

    This is for a process that is the command. Whatever was set for gradio counts for nothing meanwhile: a page that is
    shared, or listens on another address, must not come from a forgotten variable.

    Args:
        folder: For uploads; whoever made it removes it.

    Yields:
        Nothing.
    """
    before = dict(os.environ)
    try:
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        for name in ("no_proxy", "NO_PROXY"):  # gradio asks its own page whether it listens
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))
        with warnings.catch_warnings():  # gradio's own are for its makers
            warnings.filterwarnings("ignore", module=r"gradio(\.|$)")
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
