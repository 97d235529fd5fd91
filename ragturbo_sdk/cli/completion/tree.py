"""What a shell has to know of the command line, read from its parser.

Nothing is written twice: a command or an option that the parser has is in the scripts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["flag", "text", "file", "folder"]
"""What follows an option: nothing, words that no shell can know, a path of a file, or of a folder."""

# Where more is allowed than can be listed, as with cuda:1, argparse knows no choices.
_USUAL: Mapping[str, tuple[str, ...]] = {"--device": ("auto", "cpu", "cuda")}


@dataclass(frozen=True)
class Argument:
    """An option, or what a command is given without one.

    Attributes:
        names: For example ``("-o", "--output")``; none where it is no option.
        label: What its value is called.
        help: One line.
        kind: What its value is.
        choices: Values to offer.
        several: Whether more than one may be given.
    """

    names: tuple[str, ...]
    label: str
    help: str
    kind: Kind
    choices: tuple[str, ...] = ()
    several: bool = False


@dataclass(frozen=True)
class Command:
    """A command, or a verb of one.

    Attributes:
        words: Its words: ``()`` is ragturbo itself, ``("library", "add")`` a verb.
        help: One line.
        arguments: Its options, and what else it is given.
        below: The commands that may follow.
    """

    words: tuple[str, ...]
    help: str
    arguments: tuple[Argument, ...]
    below: tuple[Command, ...] = ()

    @property
    def options(self) -> tuple[Argument, ...]:
        """Those of its arguments that have a name."""
        return tuple(argument for argument in self.arguments if argument.names)

    @property
    def operands(self) -> tuple[Argument, ...]:
        """Those that have none."""
        return tuple(argument for argument in self.arguments if not argument.names)

    def walk(self) -> Iterator[Command]:
        """This command and all below it."""
        yield self
        for command in self.below:
            yield from command.walk()


def read_parser(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), text: str = "") -> Command:
    """Read a parser and all below it.

    Args:
        parser: Of a command.
        words: The command's words.
        text: Its one line of help.
    """
    arguments: list[Argument] = []
    below: list[Command] = []
    for action in parser._actions:  # argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):
            said = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below += [read_parser(sub, (*words, name), said[name]) for name, sub in action.choices.items()]
        else:
            arguments.append(_argument(action))
    return Command(words, text, tuple(arguments), tuple(below))


def _argument(action: argparse.Action) -> Argument:
    names = tuple(action.option_strings)
    choices = tuple(map(str, action.choices or ())) or next((_USUAL[n] for n in names if n in _USUAL), ())
    label = action.metavar if isinstance(action.metavar, str) else action.dest
    text = (action.help or "") % vars(action)
    return Argument(names, label, text, _kind(action), choices, several=action.nargs in ("+", "*"))


def _kind(action: argparse.Action) -> Kind:
    if action.nargs == 0:
        return "flag"
    if action.metavar == "DIR":
        return "folder"
    return "file" if action.metavar == "FILE" or action.type is Path else "text"
