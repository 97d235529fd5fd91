"""The page's pictures, references and times as HTML. Every text from outside is escaped here."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping

from ragturbo_sdk.playground.session import SOURCE, Drawn
from ragturbo_sdk.png import encode_png
from ragturbo_sdk.reference import Reference
from ragturbo_sdk.result import GenerationResult

# Gradio takes HTML for a template: these letters begin what it would compute.
_TEMPLATE = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})


def escape(text: object) -> str:
    """Make any text harmless in HTML, and in the templates that gradio makes of it."""
    return html.escape(str(text)).translate(_TEMPLATE)


def pictures(drawn: Drawn | None) -> str:
    """Both pictures side by side.

    Args:
        drawn: What was drawn; None for two empty frames.

    Returns:
        HTML.
    """
    if drawn is None:
        left, right = _frame("Without retrieval"), _frame("With retrieval")
    else:
        left = _picture("Without retrieval", drawn.without, "without")
        right = _picture("With retrieval", drawn.retrieved, "retrieved")
    return f'<div class="rt-pair">{left}{right}</div>'


def references(drawn: Drawn | None, size: int) -> str:
    """What was looked up.

    Args:
        drawn: What was drawn, or None.
        size: Pictures in the library.

    Returns:
        HTML: a card each, with picture, caption, similarity and weight.
    """
    if drawn is None:
        return _section("References", "what a prompt finds in the library will stand here", "")
    found = drawn.retrieved.references
    if not found:
        return _section("References", f"none of {size:,} captioned pictures", "")
    cards = "".join(_card(reference) for reference in found)
    return _section(
        "References", f"{len(found)} of {size:,} captioned pictures", f'<div class="rt-cards">{cards}</div>'
    )


def times(drawn: Drawn | None) -> str:
    """How long each stage took.

    Args:
        drawn: What was drawn, or None for nothing.

    Returns:
        HTML: a table with a row for each stage.
    """
    if drawn is None:
        return ""
    without, retrieved = drawn.without.timings, drawn.retrieved.timings
    rows = "".join(_row(stage, without, retrieved) for stage in retrieved)
    head = "<tr><th>milliseconds</th><th>without</th><th>with</th></tr>"
    note = "references are looked up beside the U-Net: stages may add up to more than the total"
    return _section("Time", note, f'<table class="rt-times">{head}{rows}</table>')


def _section(title: str, note: str, body: str) -> str:
    return f'<h3 class="rt-title">{title} <small>{note}</small></h3>{body}'


def _frame(title: str) -> str:
    return f'<figure class="rt-picture"><div class="rt-empty"></div><figcaption><b>{title}</b></figcaption></figure>'


def _picture(title: str, result: GenerationResult, name: str) -> str:
    uri = _uri(encode_png(result.image, result.metadata()))
    facts = f"{result.timings['total']:.1f} ms, seed {result.seed}"
    save = f'<a href="{uri}" download="ragturbo-{result.seed}-{name}.png">Save</a>'
    image = f'<img id="rt-{name}" src="{uri}" alt="{escape(f"{title}: {result.prompt}")}">'
    caption = f"<figcaption><b>{title}</b><span>{facts}</span>{save}</figcaption>"
    return f'<figure class="rt-picture">{image}{caption}</figure>'


def _card(reference: Reference) -> str:
    picture = f'<img src="{_uri(reference.thumbnail_png)}" alt="">' if reference.thumbnail_png else ""
    yours = '<span class="rt-yours">yours</span>' if reference.source == SOURCE else ""
    unused = " rt-unused" if reference.weight == 0 else ""
    where = escape(", ".join(filter(None, (reference.source, reference.licence))))
    weight = round(100 * reference.weight)
    return (
        f'<div class="rt-card{unused}" title="{where}">{picture}'
        f'<div class="rt-caption">{escape(reference.caption)} {yours}</div>'
        f'<div class="rt-number">similarity {reference.similarity:.3f}</div>'
        f'<div class="rt-number">weight {reference.weight:.2f}</div>'
        f'<div class="rt-bar"><i style="width: {weight}%"></i></div></div>'
    )


def _row(stage: str, without: Mapping[str, float], retrieved: Mapping[str, float]) -> str:
    cells = [_milliseconds(timings.get(stage, 0)) for timings in (without, retrieved)]
    kind = ' class="rt-total"' if stage == "total" else ""
    return f"<tr{kind}><td>{escape(stage.replace('_', ' '))}</td><td>{cells[0]}</td><td>{cells[1]}</td></tr>"


def _milliseconds(time: float) -> str:
    """A stage that did not run took exactly nothing."""
    return f"{time:.2f}" if time else "–"


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
