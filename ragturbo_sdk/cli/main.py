"""The command ``ragturbo``: draw a picture, show what retrieval does, measure it, say what is in the way.

Every error of ours ends with status 2, a line on stderr that says what was wrong and one that says what to
do about it.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ragturbo_sdk.cli.arguments import parse
from ragturbo_sdk.cli.commands import run
from ragturbo_sdk.errors import InvalidInputError, OutputError, PromptTruncatedWarning, RagTurboError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The words after the command's name; None for those of the process.

    Returns:
        The exit status: 0, 1 if the reader of the output left or ``doctor`` says that it cannot draw, 2 for an
        error of ours, 130 if interrupted.
    """
    _never_fail_to_print()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(
            format="%(name)s: %(message)s", level=logging.INFO if arguments.verbose else logging.WARNING
        )
        with _warnings_as_lines():
            answer = run(arguments)
            status = _print(answer.text) or answer.status
            if answer.afterwards is not None:
                answer.afterwards(status)
        return status
    except RagTurboError as error:
        return _report(error)
    except KeyboardInterrupt:
        print("ragturbo: interrupted", file=sys.stderr)
        return 130


def _print(text: str) -> int:
    """Print the answer; return the exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read our output has left, as `| head` does
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        what = f"standard output: cannot be written ({error.strerror or error})"
        return _report(OutputError(what, path="stdout", hint="make room, or send the output elsewhere"))
    return 0


def _discard_output() -> None:
    """Let what is still in the buffer go nowhere: at exit Python would try to write it again, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: RagTurboError) -> int:
    """Say what was wrong in one line, and what to do in another."""
    is_input = isinstance(error, InvalidInputError)
    hint = error.hint or ("see ragturbo --help" if is_input else "--verbose shows what happened before")
    print(f"ragturbo: error: {_one_line(error.message)}", file=sys.stderr)
    print(f"hint: {_one_line(hint)}", file=sys.stderr)
    return 2


def _one_line(text: str) -> str:
    """Text without line breaks or other control characters, whatever a path or a prompt has put in."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print a warning about the prompt as one line; every other warning stays as Python shows it."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def print_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: io.TextIOBase | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, PromptTruncatedWarning):
                print(f"ragturbo: warning: {_one_line(str(message))}", file=sys.stderr)
            else:
                show(message, category, filename, lineno, file, line)  # type: ignore[arg-type]

        warnings.simplefilter("always", PromptTruncatedWarning)
        warnings.showwarning = print_line  # type: ignore[assignment]
        yield


def _never_fail_to_print() -> None:
    """Captions may hold letters that the terminal's encoding has not: show a mark for them, do not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
