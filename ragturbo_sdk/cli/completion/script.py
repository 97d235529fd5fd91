"""The script that tells a shell what the command line is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from ragturbo_sdk.cli.completion import bash, fish, zsh
from ragturbo_sdk.cli.completion.tree import Command, read_parser

_WRITERS: Mapping[str, Callable[[Command], str]] = {"bash": bash.write, "zsh": zsh.write, "fish": fish.write}
SHELLS = tuple(_WRITERS)


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script that completes ``ragturbo``.

    Args:
        shell: One of `SHELLS`.
        parser: Of the whole command line.

    Returns:
        Its text, to be sourced or put where the shell looks for such files.
    """
    return _WRITERS[shell](read_parser(parser)).rstrip("\n")
