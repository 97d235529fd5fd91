"""The script that completes ``ragturbo`` in bash 4 and later."""

from __future__ import annotations

from ragturbo_sdk.cli.completion.tree import Argument, Command

_SCRIPT = r"""# Completion of ragturbo in bash; made by: ragturbo completion bash
_ragturbo() {
    local IFS=$' \t\n' at=generate options= words= files=
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    # Bash makes three words of --output=cat.png.
    if [[ $current == = ]]; then
        current=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    # A command is the first word; anything else there is a prompt, or an option of generate.
    if ((COMP_CWORD == 1)); then
        at=
    else
        case ${COMP_WORDS[1]} in
            @COMMANDS@) at=${COMP_WORDS[1]} ;;
        esac
    fi
    case $at in
        @GROUPS@) ((COMP_CWORD > 2)) && at="$at ${COMP_WORDS[2]}" ;;
    esac
    case $at in
@TABLE@
    esac
    case $before in
@VALUES@
        *) [[ $current == -* ]] && words=$options files= ;;
    esac
    if [[ -n $files ]]; then
        compopt -o "$files" 2>/dev/null
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}
complete -F _ragturbo ragturbo
"""
# Readline then completes the name itself, with quotes and ~ as the user writes them.
_NAMES = {"file": "default", "folder": "dirnames"}


def write(top: Command) -> str:
    """Write the script.

    Args:
        top: Ragturbo itself.
    """
    parts = {
        "@COMMANDS@": " | ".join(command.words[0] for command in top.below),
        "@GROUPS@": " | ".join(command.words[0] for command in top.below if command.below),
        "@TABLE@": "\n".join(_row(command, top) for command in top.walk()),
        "@VALUES@": "\n".join(_values(top)),
    }
    text = _SCRIPT
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _row(command: Command, top: Command) -> str:
    """What can follow a command: its options, and either words or a path."""
    prompt = next(below for below in top.below if below.words == ("generate",))
    given = command.options if command.words else (*command.options, *prompt.options)
    options = " ".join(dict.fromkeys(name for argument in given for name in argument.names))
    words = [below.words[-1] for below in command.below]
    words += [choice for operand in command.operands for choice in operand.choices]
    paths = [_NAMES[operand.kind] for operand in command.operands if operand.kind in _NAMES]
    more = f" words='{' '.join(words)}'" if words else f" files={paths[0]}" if paths else ""
    return f"        '{' '.join(command.words)}') options='{options}'{more} ;;"


def _values(top: Command) -> list[str]:
    """What follows an option; one name means the same wherever it stands."""
    rows: dict[str, list[str]] = {}
    for command in top.walk():
        for option in command.options:
            if option.kind != "flag":
                names = rows.setdefault(_value(option), [])
                names += [name for name in option.names if name not in names]
    return [f"        {' | '.join(names)}) {value} ;;" for value, names in rows.items()]


def _value(option: Argument) -> str:
    return f"words='{' '.join(option.choices)}' files={_NAMES.get(option.kind, '')}"
