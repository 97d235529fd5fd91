"""The examples in the help: every command has some, and each of them is one that the command line reads."""

from __future__ import annotations

import shlex

import pytest

from ragturbo_sdk.cli.arguments import build_parser, parse
from ragturbo_sdk.cli.completion.tree import read_parser
from ragturbo_sdk.cli.examples import EXAMPLES

COMMANDS = [" ".join(c.words) for c in read_parser(build_parser()).walk()]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        parse([*command.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_can_be_typed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    examples = [
        line.strip() for line in text[text.index("examples:") :].splitlines() if line.startswith("  ragturbo")
    ]
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        arguments = parse(words)
        named = f"{arguments.command} {getattr(arguments, 'verb', '')}".strip()
        assert command in ("", "library", named), example
        assert max(map(len, examples)) <= 100


def test_no_example_is_of_a_command_that_is_not_there() -> None:
    assert set(EXAMPLES) <= set(COMMANDS)


def test_descriptions_are_still_filled(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("doctor", capsys)
    assert max(map(len, text.splitlines())) <= 100
    assert "memory and the model" in " ".join(text.split())
