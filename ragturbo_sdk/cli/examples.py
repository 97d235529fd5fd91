"""One or two examples at the end of every command's ``--help``; a test parses each of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "generate": """
  ragturbo generate "a cat left of two pizzas" -o cat.png --seed 7
  ragturbo generate "my red mug" -o mug.png -n 4 --library my-library""",
    "demo": """
  ragturbo demo "three small strawberries in the snow" -o sheet.png""",
    "library build": """
  ragturbo library build PICTURES --out my-library""",
    "library add": """
  ragturbo library add mug.jpg --library my-library --caption "my red mug" --licence CC0-1.0
  ragturbo library add MORE-PICTURES --library my-library""",
    "library remove": """
  ragturbo library remove mug.jpg cup.jpg --library my-library""",
    "library search": """
  ragturbo library search "a red mug" --library my-library -n 5
  ragturbo library search --image photo.jpg --json""",
    "library info": """
  ragturbo library info --library my-library --json""",
    "library verify": """
  ragturbo library verify --library my-library""",
    "library compact": """
  ragturbo library compact --library my-library""",
    "library copy": """
  ragturbo library copy --out my-library""",
    "library bench": """
  ragturbo library bench --keys 630000 --dim 1024 --json""",
    "bench": """
  ragturbo bench --rounds 20 --threads 2 --json""",
    "info": """
  ragturbo info --bundle MODEL --json""",
    "doctor": """
  ragturbo doctor --device cuda""",
    "playground": """
  ragturbo playground
  ragturbo playground --library my-library --port 0 --no-browser""",
    "completion": """
  ragturbo completion bash > ~/.local/share/bash-completion/completions/ragturbo
  ragturbo completion zsh > ~/.zfunc/_ragturbo
  ragturbo completion fish > ~/.config/fish/completions/ragturbo.fish

Zsh looks in ~/.zfunc if ~/.zshrc says: fpath+=~/.zfunc; autoload -Uz compinit; compinit""",
}
_HEADING = "examples:"


class _Formatter(argparse.HelpFormatter):
    """Fills descriptions as argparse does, and leaves the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_HEADING) else super()._fill_text(text, width, indent)


def add_examples(parser: argparse.ArgumentParser, words: str = "") -> None:
    """Put the examples of `EXAMPLES` at the end of the help of a command, and of all below it.

    Args:
        parser: Of a command.
        words: The command's words, ``""`` for ragturbo itself.
    """
    if words in EXAMPLES:
        parser.epilog, parser.formatter_class = _HEADING + EXAMPLES[words], _Formatter
    for action in parser._actions:  # argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                add_examples(below, f"{words} {name}".strip())
