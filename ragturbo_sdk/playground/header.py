"""The page's first lines: which model, where it runs, and what becomes of pictures that are added."""

from __future__ import annotations

from ragturbo_sdk.playground.cards import escape
from ragturbo_sdk.playground.session import Session


def header(session: Session) -> str:
    """Name model, device and library.

    Args:
        session: The open session.

    Returns:
        HTML.
    """
    info = session.generator.info
    size = len(session.generator.library)
    facts = (
        f"{info.name} {info.bundle_version}",
        f"{info.width}×{info.height} pixels",
        info.device,
        f"{size:,} captioned pictures",
    )
    chips = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f'<div class="rt-header"><b>ragturbo</b>{chips}</div>'


def library_note(session: Session) -> str:
    """Say where added pictures go, and for how long.

    Args:
        session: The open session.

    Returns:
        HTML.
    """
    if session.temporary:
        return (
            '<p class="rt-note">This is a temporary copy of the model’s own library: what you add is gone when the '
            "playground ends. Start it with <code>--library DIR</code> to keep it.</p>"
        )
    path = escape(session.generator.library.path)
    return f'<p class="rt-note">What you add stays in <code>{path}</code>.</p>'
