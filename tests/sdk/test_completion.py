"""The scripts of `ragturbo completion`, in the shells that they are for."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ragturbo_sdk.cli.arguments import COMMANDS, build_parser
from ragturbo_sdk.cli.completion.script import SHELLS, script
from ragturbo_sdk.cli.completion.tree import Command, read_parser
from ragturbo_sdk.cli.library_arguments import VERBS
from ragturbo_sdk.cli.main import main
from tests.sdk.typing_shell import typed

BASH, ZSH, FISH = (shutil.which(shell) for shell in SHELLS)
needs_bash = pytest.mark.skipif(BASH is None, reason="no bash")
needs_zsh = pytest.mark.skipif(ZSH is None, reason="no zsh")
needs_fish = pytest.mark.skipif(FISH is None, reason="no fish")
TOP = read_parser(build_parser())

# What was typed, its last word being completed, and what is offered for it.
OFFERED = [
    ("ragturbo de", {"demo"}),
    ("ragturbo library ", set(VERBS)),
    ("ragturbo library ve", {"verify"}),
    ("ragturbo library search --im", {"--image"}),
    ("ragturbo completion ", set(SHELLS)),
    ("ragturbo info --device c", {"cpu", "cuda"}),
    ("ragturbo 'two cats' --no-r", {"--no-retrieval"}),
    ("ragturbo 'two cats' demo --no-r", {"--no-retrieval"}),
    ("ragturbo --num", {"--num-images", "--num-inference-steps"}),
    ("ragturbo --ver", {"--version", "--verbose"}),
    ("ragturbo bench --ro", {"--rounds"}),
    ("ragturbo demo --ro", set()),
]
# What was typed, with a tab, and the words that the command then gets; there are cat.png and a folder, model.
COMPLETED = [
    ("ragturbo x -o ca\t", ["x", "-o", "cat.png"]),
    ("ragturbo library search --image ca\t", ["library", "search", "--image", "cat.png"]),
    ("ragturbo info --bundle mo\t", ["info", "--bundle", "model/"]),
    ("ragturbo info --bundle ca\t", ["info", "--bundle", "ca"]),
    ("ragturbo library add ca\t", ["library", "add", "cat.png"]),
    ("ragturbo library ve\t", ["library", "verify"]),
    ("ragturbo x --seed ca\t", ["x", "--seed", "ca"]),
    ("ragturbo x --no-r\t", ["x", "--no-retrieval"]),
    ("ragturbo demo --ro\t", ["demo", "--ro"]),
    ("ragturbo bench --ro\t", ["bench", "--rounds"]),
    ("ragturbo --vers\t", ["--version"]),
    ("ragturbo --no-r\t", ["--no-retrieval"]),
    ("ragturbo x --device cu\t", ["x", "--device", "cuda"]),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a picture and a folder in it, and every script."""
    (tmp_path / "cat.png").touch()
    (tmp_path / "model").mkdir()
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(script(shell, build_parser()) + "\n", encoding="utf-8")
    return tmp_path


def said(command: list[str], home: Path) -> str:
    environment = {**os.environ, "HOME": str(home), "TERM": "dumb"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def bash_offers(line: str, home: Path) -> set[str]:
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    code = 'source script.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ragturbo; printf "%s\\n" "${COMPREPLY[@]}"'
    return set(said([str(BASH), "--norc", "-c", code, "bash", *words], home).split())


@needs_bash
@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_bash_offers(line: str, offered: set[str], home: Path) -> None:
    assert bash_offers(line, home) == offered


@needs_bash
def test_bash_offers_every_option_of_every_command(home: Path) -> None:
    for command in TOP.walk():
        known = {name for option in command.options for name in option.names}
        offered = bash_offers(" ".join(("ragturbo", *command.words, "-")), home)
        assert offered == known if command.words else offered >= known, command.words


@needs_bash
@pytest.mark.parametrize(
    ("line", "words"), [*COMPLETED, ("ragturbo x --output=ca\t", ["x", "--output=cat.png"])]
)
def test_bash_completes(line: str, words: list[str], home: Path) -> None:
    shell = [str(BASH), "--norc", "--noprofile", "-i"]
    assert typed(shell, start="source script.bash", line=line, home=home) == words


@needs_zsh
@pytest.mark.parametrize(("line", "words"), COMPLETED)
def test_zsh_completes(line: str, words: list[str], home: Path) -> None:
    start = "autoload -Uz compinit; compinit -u -D; source script.zsh"
    shell = [str(ZSH), "-f", "-i"]
    # It takes the sign at a folder's end away again when the line goes on.
    assert typed(shell, start=start, line=line, home=home) == [word.rstrip("/") for word in words]


@needs_zsh
def test_zsh_reads_the_script(home: Path) -> None:
    said([str(ZSH), "-f", "-n", "script.zsh"], home)


@needs_fish
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        *OFFERED,
        ("ragturbo x -o ca", {"cat.png"}),
        ("ragturbo info --bundle m", {"model/"}),
        ("ragturbo library add ca", {"cat.png"}),
    ],
)
def test_fish_offers(line: str, offered: set[str], home: Path) -> None:
    code = f"source script.fish; complete -C {shlex.quote(line)}"
    lines = said([str(FISH), "--no-config", "-c", code], home).splitlines()
    assert {word.split("\t")[0] for word in lines} == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_names_every_command_and_option(shell: str) -> None:
    text = script(shell, build_parser())
    for command in TOP.walk():
        for option in command.options:
            for name in option.names:
                assert name in text or f"-l {name[2:]} " in text or f"-s {name[1:]} " in text, name
        assert not command.words or command.words[-1] in text


def test_the_parser_is_read_whole() -> None:
    assert tuple(command.words[0] for command in TOP.below) == COMMANDS
    (library,) = (command for command in TOP.below if command.words == ("library",))
    assert {command.words[-1] for command in library.below} == set(VERBS)
    assert all(command.help for command in TOP.walk() if command.words)


def test_one_option_means_the_same_everywhere() -> None:
    """Bash's script looks an option's value up by the option's name alone."""
    meanings: dict[str, set[tuple[object, ...]]] = {}
    for command in TOP.walk():
        for option in command.options:
            for name in option.names:
                meanings.setdefault(name, set()).add((option.kind, option.choices))
    assert {name: kinds for name, kinds in meanings.items() if len(kinds) > 1} == {}


def test_paths_are_known_for_paths() -> None:
    kinds = {name: o.kind for c in TOP.walk() for o in c.options for name in o.names}
    assert (kinds["--output"], kinds["--bundle"], kinds["--json"], kinds["--seed"]) == (
        "file",
        "folder",
        "flag",
        "text",
    )
    operands = {c.words: [o.kind for o in c.operands] for c in TOP.walk() if isinstance(c, Command)}
    assert operands["library", "add"] == ["file"]
    assert operands["generate",] == ["text"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell, build_parser()) + "\n"


def test_an_unknown_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh' (choose from" in capsys.readouterr().err
