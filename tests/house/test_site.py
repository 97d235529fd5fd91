"""The site is built without a warning, holds what it should, and fetches nothing while it is read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ragturbo_sdk
from tests.house.markdown import ROOT, anchors, documents

# What a page loads by itself; links that a reader may follow are another matter.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|embed)\b[^>]*?\bsrc=\"?(?P<src>[^\"\s>]+)"
    r"|<link\b(?P<link>[^>]*)>|url\(\"?(?P<url>[^\")]+)|@import\s+\"(?P<style>[^\"]+)"
)
DIRECTIVE = re.compile(r"^::: ragturbo_sdk\.(\w+)$", re.MULTILINE)
ENVIRONMENT = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does, but into another folder."""
    command = [sys.executable, "-B", "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page(site: Path, document: Path) -> Path:
    """Where a document is on the site."""
    if document == ROOT / "README.md":
        return site / "index.html"
    home = ROOT / "docs" if document.is_relative_to(ROOT / "docs") else ROOT
    return (site / document.relative_to(home)).with_suffix(".html")


def test_every_document_is_a_page_with_its_headings(site: Path) -> None:
    shown = [path for path in documents() if path != ROOT / "runtime" / "README.md"]
    assert len(shown) > 20
    for document in shown:
        html = read(page(site, document))
        lost = {anchor for anchor in anchors(read(document)) if f'id="{anchor}"' not in html}
        assert not lost, document


def test_the_readme_is_the_first_page(site: Path) -> None:
    html = read(site / "index.html")
    assert 'src="images/demo.png"' in html
    assert (site / "images" / "demo.png").is_file()
    assert 'href="start.html"' in html
    assert 'href="LICENSE.txt"' in html
    assert read(site / "LICENSE.txt") == read(ROOT / "LICENSE")


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = []
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        for match in LOADED.finditer(read(path)):
            address = match["src"] or match["link"] or match["url"] or match["style"]
            foreign = re.search(r"(?:^|\")(?:https?:)?//", address)
            loaded += [f"{path.name}: {address}"] if foreign else []
    assert not loaded


def test_no_source_lies_in_the_site(site: Path) -> None:
    assert not [path for path in site.rglob("*") if path.suffix in {".py", ".pyc", ".md"}]


def test_the_reference_has_every_public_name_and_no_other() -> None:
    named = DIRECTIVE.findall(read(ROOT / "docs" / "api.md"))
    assert sorted([*named, "__version__"]) == sorted(ragturbo_sdk.__all__)


@pytest.mark.parametrize("name", [name for name in ragturbo_sdk.__all__ if name != "__version__"])
def test_the_reference_says_what_each_name_is(site: Path, name: str) -> None:
    html = read(site / "api.html")
    entry = html.partition(f'id="ragturbo_sdk.{name}"')[2].partition('<div class="doc doc-object doc-')[0]
    assert re.search(
        r'<div class="doc doc-contents\b[^>]*>\s*(?:<p class="doc doc-class-bases">.*?</p>\s*)?<p>\w',
        entry,
        re.DOTALL,
    )


def checkout(folder: Path) -> Path:
    """What the site is made of, in a folder of its own."""
    shutil.copytree(ROOT / "docs", folder / "docs")  # the hook reads what lies beside it, not behind a link
    for name in ("ragturbo_sdk", "runtime"):
        (folder / name).symlink_to(ROOT / name)
    for path in [ROOT / "mkdocs.yml", ROOT / "LICENSE", ROOT / "NOTICE", *ROOT.glob("*.md")]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("[x](docs/nowhere.md)", "nowhere.md"),
        ("[x](docs/start.md#nowhere)", "#nowhere"),
        ("[x](Makefile)", "Makefile"),
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, line: str, named: str) -> None:
    """The strict build is only worth what it notices."""
    copy = checkout(tmp_path)
    with (copy / "README.md").open("a", encoding="utf-8") as readme:
        readme.write(f"\n{line}\n")
    done = build(copy, tmp_path / "site")
    assert done.returncode == 1
    assert named in done.stdout + done.stderr
