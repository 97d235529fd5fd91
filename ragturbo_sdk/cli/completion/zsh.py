"""The script that completes ``ragturbo`` in zsh."""

from __future__ import annotations

from ragturbo_sdk.cli.completion.tree import Argument, Command

_SCRIPT = r"""#compdef ragturbo
# Completion of ragturbo in zsh; made by: ragturbo completion zsh
@FUNCTIONS@
if [[ $funcstack[1] == _ragturbo ]]; then
    _ragturbo "$@"
else
    compdef _ragturbo ragturbo
fi
"""
_GROUP = r"""
@NAME@() {
    local -a commands=(
@COMMANDS@
    )
    if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then
        _describe -t commands command commands
        return
    fi
    case $words[2] in
@CASES@
        (*) @OTHERWISE@ ;;
    esac
}
"""
_COMMAND = r"""
@NAME@() {
    _arguments -s \
        @SPECS@
}
"""
_ACTIONS = {"file": "_files", "folder": "_path_files -/", "text": " "}


def write(top: Command) -> str:
    """Write the script.

    Args:
        top: Ragturbo itself.
    """
    functions = "".join(_group(c) if c.below else _command(c) for c in (*_below_first(top), top))
    return _SCRIPT.replace("@FUNCTIONS@", functions)


def _below_first(command: Command) -> list[Command]:
    return [one for below in command.below for one in (*_below_first(below), below)]


def _group(command: Command) -> str:
    commands = [f"        {_quoted(f'{c.words[-1]}:{c.help}')}" for c in command.below]
    cases = [f"        ({c.words[-1]}) shift words; ((CURRENT--)); {_name(c)} ;;" for c in command.below]
    otherwise = f"_arguments -s {' '.join(map(_spec, _without_a_command(command)))}"
    text = _GROUP.replace("@NAME@", _name(command)).replace("@COMMANDS@", "\n".join(commands))
    return text.replace("@CASES@", "\n".join(cases)).replace("@OTHERWISE@", otherwise)


def _without_a_command(group: Command) -> tuple[Argument, ...]:
    """What may stand where a command could: of ragturbo itself, all that generate knows, as a prompt means it."""
    prompt = [below.arguments for below in group.below if below.words == ("generate",)]
    known = {argument.names: argument for given in (group.options, *prompt) for argument in given}
    return tuple(known.values())


def _command(command: Command) -> str:
    specs = " \\\n        ".join(map(_spec, command.arguments))
    return _COMMAND.replace("@NAME@", _name(command)).replace("@SPECS@", specs)


def _name(command: Command) -> str:
    return "_".join(("_ragturbo", *command.words))


def _spec(argument: Argument) -> str:
    """One argument as ``_arguments`` reads it."""
    action = f"({' '.join(argument.choices)})" if argument.choices else _ACTIONS.get(argument.kind, "")
    value = "" if argument.kind == "flag" else f":{argument.label}:{action}"
    if not argument.names:
        # A word that cannot be known offers nothing: a message there would hold options back at the first tab.
        value = value if action.strip() else f":{argument.label}:()"
        return _quoted(f"*{value}" if argument.several else value)
    brackets = argument.help.replace("[", r"\[").replace("]", r"\]")
    each = [f"{name}[{brackets}]{value}" for name in argument.names]
    together = f"({' '.join(argument.names)})" if len(each) > 1 else ""
    return " ".join(_quoted(together + one) for one in each)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
