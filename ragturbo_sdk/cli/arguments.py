"""The words after ``ragturbo``, and what they mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ragturbo_sdk._version import __version__
from ragturbo_sdk.cli.completion.script import SHELLS
from ragturbo_sdk.cli.examples import add_examples
from ragturbo_sdk.cli.library_arguments import add_library
from ragturbo_sdk.errors import InvalidInputError

COMMANDS = ("generate", "demo", "library", "bench", "info", "doctor", "playground", "completion")
_USAGE = """ragturbo PROMPT [-o FILE] [options]
       ragturbo {generate,demo,library,bench,info,doctor,playground,completion} [options]"""
_EXAMPLES = """examples:
  ragturbo "a cat left of two pizzas" -o cat.png
  ragturbo "a big dog at the beach" -o dog.png -n 4 --seed 7 --json
  ragturbo "a red apple" -o plain.png --no-retrieval
  ragturbo demo "three small strawberries in the snow" -o sheet.png
  ragturbo library build PICTURES --out my-library
  ragturbo "my red mug" -o mug.png --library my-library
  ragturbo bench --json
  ragturbo playground
  ragturbo doctor --device cuda

A prompt alone means generate; all options of a command: ragturbo COMMAND --help
Exit status: 0 done, 1 doctor: cannot draw, 2 wrong input or a file that cannot be used,
130 interrupted."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints look like every other error of the command."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise InvalidInputError(message, argument="command line", hint=f"see {self.prog} --help")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Args:
        words: What stands after the command's name.

    Returns:
        ``command`` and its options. ``--help`` and ``--version`` leave the process with status 0.

    Raises:
        InvalidInputError: There is no prompt, or an option is unknown or malformed.
    """
    if not words:
        example = _EXAMPLES.splitlines()[1].strip()
        raise InvalidInputError("no prompt was given", argument="prompt", hint=f"try {example}")
    named = words[0] in COMMANDS or words[0] in ("-h", "--help", "--version")
    arguments = build_parser().parse_args(list(words) if named else ["generate", *words])
    if not named and arguments.prompt in COMMANDS:
        hint = (
            f"put it first: ragturbo {arguments.prompt} ..., or draw it: ragturbo generate {arguments.prompt}"
        )
        raise InvalidInputError(f"{arguments.prompt!r} is a command", argument="prompt", hint=hint)
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line; its complaints are errors of ours."""
    parser = _Parser(
        prog="ragturbo",
        usage=_USAGE,
        description="Draw a picture from text in one step, made better by looking things up.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ragturbo {__version__}")
    commands = parser.add_subparsers(prog="ragturbo", dest="command", metavar="COMMAND", title="commands")
    _add_generate(
        commands.add_parser("generate", help="draw pictures (a prompt alone means this)", allow_abbrev=False)
    )
    _add_demo(commands.add_parser("demo", help="one sheet: without and with retrieval", allow_abbrev=False))
    add_library(
        commands.add_parser(
            "library", help="build, search and change a library of references", allow_abbrev=False
        )
    )
    _add_bench(commands.add_parser("bench", help="measure what retrieval costs", allow_abbrev=False))
    _add_common(commands.add_parser("info", help="describe the model and the device", allow_abbrev=False))
    _add_doctor(
        commands.add_parser("doctor", help="say what is here, and what is in the way", allow_abbrev=False)
    )
    _add_playground(
        commands.add_parser("playground", help="a page in the browser to try things out", allow_abbrev=False)
    )
    _add_completion(
        commands.add_parser("completion", help="print a script that completes ragturbo", allow_abbrev=False)
    )
    add_examples(parser)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Draw pictures and write them as PNG files that say how they were made."
    parser.add_argument("prompt", help="what to draw")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the PNG to write (default: named after prompt and seed)",
    )
    parser.add_argument(
        "-n", "--num-images", type=int, default=1, metavar="N", help="pictures to draw, 1 to 64"
    )
    parser.add_argument("--seed", type=int, help="the first picture's noise (default: by chance)")
    parser.add_argument("--no-retrieval", action="store_true", help="draw without looking anything up")
    _add_drawing(parser)
    _add_common(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw a prompt without and with retrieval from the same noise, on one sheet with the references."
    )
    parser.add_argument("prompt", nargs="?", help="what to draw (default: an example)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("ragturbo-demo.png"),
        metavar="FILE",
        help="default: %(default)s",
    )
    parser.add_argument("--seed", type=int, help="the noise of both pictures (default: always the same)")
    _add_drawing(parser)
    _add_common(parser)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure pictures with and without retrieval, alternately, and say what retrieval costs."
    )
    parser.add_argument(
        "--rounds", type=int, default=100, metavar="N", help="pairs to measure (default: 100)"
    )
    parser.add_argument("--warmup", type=int, default=5, metavar="N", help="pairs drawn before (default: 5)")
    _add_common(parser)


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--references", type=int, metavar="K", help="references to use (default: the model's own)"
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, help="how strongly they act, 0 to 2 (default: 1)"
    )
    parser.add_argument(
        "--num-inference-steps",
        "--steps",
        type=int,
        default=1,
        metavar="N",
        help="denoising steps, 1 to 4 (default: 1)",
    )


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what this machine has for drawing: ONNX Runtime, CUDA, driver, cards, memory and the model, every byte of "
        "it. Each problem comes with its cure. Exit status 1 if the device cannot be used."
    )
    _add_place(parser)
    _add_own_library(parser)


def _add_own_library(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--library", metavar="DIR", help="a library of your own (default: the one of the bundle)"
    )


def _add_playground(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Open a page of this machine where a prompt is drawn without and with retrieval, and where own pictures can be "
        "added. Needs the extra playground. Ctrl-C ends it."
    )
    parser.add_argument(
        "--port", type=int, default=7860, metavar="N", help="of 127.0.0.1; 0 for any free one (default: 7860)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    _add_common(parser)


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the script that makes a shell complete ragturbo's commands, options and paths. Put it where your "
        "shell looks for such scripts. It is no data, so there is no --json."
    )
    parser.add_argument("shell", choices=SHELLS, help="whose script to print")
    parser.set_defaults(bundle=None, verbose=False)


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_place(parser)
    _add_own_library(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one per core)")
    parser.add_argument(
        "--memory-limit",
        type=_bytes,
        metavar="SIZE",
        help="the most GPU memory, for example 4G (default: all)",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="record the work for a GPU once, and replay it"
    )


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", metavar="DIR", help="the model's folder (default: the one that came with ragturbo)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")


def _bytes(text: str) -> int:
    """Read ``4G``, ``500M`` or a number of bytes; K, M and G are powers of 1024."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip().upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 4G, 500M or a number of bytes")
    return int(match[1]) << 10 * " KMG".index(match[2] or " ")
