"""The documentation is true: its links lead somewhere, its commands exist, its Python runs."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest

from ragturbo_sdk._version import __version__
from ragturbo_sdk.cli.arguments import parse
from tests.house.markdown import ROOT, Block, anchors, blocks, documents, links

DOCUMENTS = documents()
# `python -m` of these is the environment's business, not ours.
FOREIGN_MODULES = {"pip", "pytest", "venv", "build", "mypy", "ruff"}
COMMAND = re.compile(
    r"^(?:\$ )?(?:(?:\S*/)?python[\d.]* -m (?P<module>[\w.]+)|(?P<command>ragturbo))\b(?P<rest>.*)$"
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


@cache
def help_text(module: str, *arguments: str) -> str:
    """What a command of ours says about itself; run as `python -m` would, in a process that has torch already."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        warnings.filterwarnings(
            "ignore", ".* found in sys.modules", RuntimeWarning
        )  # of what is imported already
        patch.setattr(sys, "argv", [module, *arguments, "--help"])
        with pytest.raises(SystemExit) as left:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not left.value.code, f"python -m {module} {' '.join(arguments)} --help"
    return said.getvalue()


def console_lines(path: Path) -> list[str]:
    """The commands in a document's console blocks; a backslash at the end joins the next line."""
    shells = [block.body for block in blocks(read(path)) if block.language in {"console", "sh", "bash"}]
    return [line.strip() for body in shells for line in body.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    dead = []
    for link in links(read(document)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, fragment = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or not target.is_relative_to(ROOT):
            dead.append(link)
        elif fragment and target.suffix == ".md" and fragment not in anchors(read(target)):
            dead.append(link)
    assert not dead


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        document = queue.pop()
        if document in reached:
            continue
        reached.add(document)
        targets = [(document.parent / link.partition("#")[0]).resolve() for link in links(read(document))]
        queue += [target for target in targets if target.suffix == ".md" and target.is_file()]
    lost = sorted(
        name(path) for path in DOCUMENTS if path.is_relative_to(ROOT / "docs") and path not in reached
    )
    assert not lost


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_make_targets_in_the_docs_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", read(ROOT / "Makefile"), re.MULTILINE))
    code = re.findall(r"`([^`\n]+)`", read(document)) + console_lines(document)
    calls = [match[1] for line in code if (match := re.match(r"make((?: [a-z][a-z-]*)+)", line))]
    named = {target for call in calls for target in call.split()}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_in_the_docs_exist_and_know_their_options(document: Path) -> None:
    for line in console_lines(document):
        match = COMMAND.match(line)
        if match is None or match["module"] in FOREIGN_MODULES:
            continue
        module = match["module"] or "ragturbo_sdk"
        words = re.sub(r"\"[^\"]*\"|'[^']*'|\s#.*", " ", match["rest"]).split()
        named = words and re.fullmatch("[a-z]+", words[0])
        subcommand = [words[0]] if named else ["generate"] if module == "ragturbo_sdk" else []
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_text(module, *subcommand)))
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known, f"{line}: {module} does not know {sorted(options - known)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_in_the_docs_are_whole(document: Path) -> None:
    """The program's own parser reads them: values that it would refuse, or a missing word, end the test."""
    for line in console_lines(document):
        match = COMMAND.match(line)
        if match is None:
            continue
        words = shlex.split(
            re.sub(r"\s[>|].*", "", match["rest"]), comments=True
        )  # what the shell does with it
        if match["command"] or match["module"] == "ragturbo_sdk":
            parse(words)
        elif match["module"].startswith(("export.", "training.")):
            read_by_module(match["module"], words)


def read_by_module(module: str, words: list[str]) -> None:
    """Let a tool's own parser read the words, where it has one apart from `main`."""
    source = ROOT / f"{module.replace('.', '/')}.py"
    hands_them_on = module == "training.evaluate" and words[0] == "own"
    if source.is_file() and "def _parser()" in read(source) and not hands_them_on:
        assert importlib.import_module(module)._parser().parse_args(words)


def python_blocks(document: Path) -> list[Block]:
    return [block for block in blocks(read(document)) if block.language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("document", [path for path in DOCUMENTS if python_blocks(path)], ids=name)
def test_python_in_the_docs_runs(document: Path, tmp_path: Path) -> None:
    """Top to bottom in one process, from an empty folder, as a reader would type it."""
    run = [block for block in python_blocks(document) if block.not_run is None]
    if not run:
        assert all(block.not_run for block in python_blocks(document))
        return
    # Blank lines keep the line numbers of the document in a traceback.
    lines = [""] * sum(1 for _ in read(document).splitlines())
    for block in run:
        code = block.body.splitlines()
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    program = tmp_path / f"{document.stem}.py"
    program.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(
        command, cwd=tmp_path / "folder", env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_readme_begins_with_what_a_visitor_needs() -> None:
    """Sentence, picture, install, six lines of code, and the two commands of a checkout."""
    start = "\n".join(read(ROOT / "README.md").splitlines()[:40])
    (snippet,) = (block for block in blocks(start) if block.language == "python")
    assert "docs/images/demo.png" in links(start)
    assert 'pip install "ragturbo-sdk[cpu]"' in start
    assert 3 <= len([line for line in snippet.body.splitlines() if line.strip()]) <= 6
    assert snippet.not_run is None
    assert {"make demo", "make test"} <= set(re.findall(r"^make (?:demo|test)\b", start, re.MULTILINE))


def test_changelog_and_version_agree() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == __version__


def test_the_reader_finds_links_blocks_and_anchors() -> None:
    """The other tests here are only as good as this."""
    text = (
        '# A *b* `c`!\n[x](y.md#z) <img src="p.png"> `[no](no.md)`\n<!-- not run: needs a GPU -->\n'
        "```python\n[no](no.md)\n# no heading\n```\n\n```console\nmake demo\n```\n"
    )
    assert links(text) == ["y.md#z", "p.png"]
    assert anchors(text) == {"a-b-c"}
    assert [(b.language, b.line, b.not_run) for b in blocks(text)] == [
        ("python", 5, "needs a GPU"),
        ("console", 10, None),
    ]
