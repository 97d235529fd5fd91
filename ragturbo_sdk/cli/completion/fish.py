"""The script that completes ``ragturbo`` in fish."""

from __future__ import annotations

from ragturbo_sdk.cli.completion.tree import Argument, Command

_SCRIPT = r"""# Completion of ragturbo in fish; made by: ragturbo completion fish
function __ragturbo_at --description 'Whether the words so far are those of one of these commands'
    set -l words (commandline -opc)
    set -e words[1]
    set -l at ''
    if set -q words[1]
        # A command is the first word; anything else there is a prompt, or an option of generate.
        set at generate
        contains -- $words[1] @COMMANDS@; and set at $words[1]
        contains -- $at @GROUPS@; and set -q words[2]; and set at "$at $words[2]"
    end
    contains -- "$at" $argv
end

complete -c ragturbo -f
@LINES@
"""
_FOLDERS = "-a '(__fish_complete_directories)'"
_VALUES = {"file": "-r -F", "folder": f"-x {_FOLDERS}", "text": "-x", "flag": ""}
_OPERANDS = {"file": "-F", "folder": _FOLDERS}


def write(top: Command) -> str:
    """Write the script.

    Args:
        top: Ragturbo itself.
    """
    lines = [line for command in top.walk() for line in _lines(command)]
    text = _SCRIPT.replace("@COMMANDS@", " ".join(command.words[0] for command in top.below))
    groups = " ".join(command.words[0] for command in top.below if command.below)
    return text.replace("@GROUPS@", groups).replace("@LINES@", "\n".join(lines))


def _lines(command: Command) -> list[str]:
    name = _quoted(" ".join(command.words))
    # Options alone mean generate.
    also = " ''" if command.words == ("generate",) else ""
    where = f"complete -c ragturbo -n {_quoted(f'__ragturbo_at {name}{also}')}"
    only = f"complete -c ragturbo -n {_quoted(f'__ragturbo_at {name}')}"
    lines = [f"{only} -a {below.words[-1]} -d {_quoted(below.help)}" for below in command.below]
    lines += [f"{where} {_option(option)}" for option in command.options]
    for operand in command.operands:
        if operand.choices:
            lines.append(f"{only} -a {_quoted(' '.join(operand.choices))}")
        elif operand.kind in _OPERANDS:
            lines.append(f"{only} {_OPERANDS[operand.kind]}")
    return lines


def _option(option: Argument) -> str:
    names = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names]
    value = f"-x -a {_quoted(' '.join(option.choices))}" if option.choices else _VALUES[option.kind]
    return " ".join(filter(None, [*names, value, "-d", _quoted(option.help)]))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
