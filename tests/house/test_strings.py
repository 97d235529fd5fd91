"""What must not stand in any file of the project: registry addresses and paths of one machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ragturbo_sdk", "runtime", "export", "training", "tests", "docs", ".github", ".ci")

# Written so that this file does not match itself. This machine's own places are added below.
FORBIDDEN = re.compile(
    rb"pypi[.]org|python[h]osted|registry[.]npmjs|deb[.]debian|"
    rb"/(?:work|farm)/|/opt/(?:wheels|pypi)|/root[/]",
)
PIN = re.compile(r"^\s*(?:-\s+)?uses:\s*(?P<action>\S+)(?:\s+#\s*(?P<tag>v[\d.]+))?\s*$", re.MULTILINE)


def files() -> Iterator[Path]:
    """Every file that could be committed, binary ones too: exporters leave paths in graphs."""
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.name != ".git")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            generated = {"__pycache__", "failures"} & set(path.parts)
            if path.is_file() and not generated and ".egg-info" not in str(path):
                yield path


def places() -> re.Pattern[bytes]:
    """This checkout and this user's home, where they are more than a name that any text may hold."""
    paths = [path.as_posix().encode() for path in (ROOT, Path.home()) if len(path.parts) > 2]
    return re.compile(b"|".join([FORBIDDEN.pattern, *map(re.escape, paths)]))


def test_no_file_names_a_registry_or_a_place_on_one_machine() -> None:
    pattern = places()
    hits: list[str] = []
    for path in files():
        match = pattern.search(path.read_bytes())
        if match:
            hits.append(f"{path.relative_to(ROOT)}: {match.group().decode(errors='replace')}")
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize(
    "text",
    [b"https://pypi." + b"org/simple", b"/wor" + b"k/main/x", b"/roo" + b"t/.cache"],
)
def test_the_search_finds_what_it_is_for(text: bytes) -> None:
    assert FORBIDDEN.search(b"\x00\x01" + text + b"\xff")


def test_constraints_pin_exactly_and_hold_no_address() -> None:
    for name in ("constraints.txt", "constraints-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        loose = [line for line in pins if not re.match(r"^[a-z0-9][a-z0-9._-]*==[0-9][\w.]*( ; .+)?$", line)]
        assert pins, name
        assert not loose, f"{name}: {loose}"


def test_the_demo_installs_what_the_tests_were_run_with() -> None:
    """Two pinned sets that disagree would test one product and show another."""
    runtime, development = (
        dict(line.split(" ;")[0].split("==") for line in text.splitlines() if "==" in line.split(" ;")[0])
        for text in (
            (ROOT / name).read_text(encoding="utf-8") for name in ("constraints.txt", "constraints-dev.txt")
        )
    )
    assert runtime
    assert {name: version for name, version in runtime.items() if development.get(name) != version} == {}
    assert "torch" not in runtime


def test_workflow_actions_are_pinned_by_commit() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    uses = [match for path in workflows for match in PIN.finditer(path.read_text(encoding="utf-8"))]
    assert uses
    for match in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", match["action"]), match["action"]
        assert match["tag"], f"{match['action']}: say in a comment which version this commit is"
