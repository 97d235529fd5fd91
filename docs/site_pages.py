"""What the documentation site takes from outside docs/: the README is its first page, written once.

mkdocs calls the functions here (``hooks:`` in mkdocs.yml). A document's links are right where it lies in the
checkout; those that lead into or out of docs/ get the address that their target has on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Name in the checkout, and name on the site; the last two are served as they are.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "LICENSE": "LICENSE.txt",
    "NOTICE": "NOTICE.txt",
}
_TARGET = re.compile(r"(?<=\]\()(?P<file>[^)\s#:]+)(?P<fragment>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that lie outside docs/ to those of the site."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a page's links lead to where their targets are on the site."""
    homes = {name: source for source, name in OUTSIDE.items()}
    name = page.file.src_uri
    return _TARGET.sub(
        lambda match: (
            site_link(homes.get(name, f"docs/{name}"), name, match["file"]) + (match["fragment"] or "")
        ),
        markdown,
    )


def site_link(document: str, page: str, link: str) -> str:
    """Translate one link.

    Args:
        document: Where the document lies in the checkout.
        page: Where it lies on the site.
        link: The link as it is written, relative to ``document``, without a fragment.

    Returns:
        The link relative to ``page``; what is neither in docs/ nor one of ``OUTSIDE`` stays as it was, and the
        strict build then names it.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(document), link))
    if target in OUTSIDE:
        target = OUTSIDE[target]
    elif PurePosixPath(target).is_relative_to("docs"):
        target = posixpath.relpath(target, "docs")
    else:
        return link
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
