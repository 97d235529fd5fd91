"""The HTML of pictures, references and times."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from ragturbo_sdk import read_metadata
from ragturbo_sdk.playground.cards import pictures, references, times
from ragturbo_sdk.playground.header import header, library_note
from ragturbo_sdk.playground.session import SOURCE, Drawn, Session

NASTY = '<script>alert(1)</script> ${alert(2)} {{alert}} `x` \\u0041 "quoted" it\'s'


class Reader(HTMLParser):
    """Collects tags and text as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def drawn(session: Session) -> Drawn:
    return session.draw("a red circle", seed=5, strength=1, references=3)


def test_a_picture_says_how_it_was_made_when_it_is_saved(drawn: Drawn, tmp_path: Path) -> None:
    files = re.findall(r'href="data:image/png;base64,([^"]+)" download="(\S+)"', pictures(drawn))
    assert [name for _, name in files] == ["ragturbo-5-without.png", "ragturbo-5-retrieved.png"]
    for (data, _), result in zip(files, (drawn.without, drawn.retrieved), strict=True):
        (tmp_path / "saved.png").write_bytes(base64.b64decode(data))
        assert read_metadata(tmp_path / "saved.png") == result.metadata()
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.tobytes() == result.image.tobytes()


def test_every_reference_has_a_card(drawn: Drawn) -> None:
    html = references(drawn, 32)
    reader = Reader(html)
    assert "3 of 32 captioned pictures" in reader.text
    assert reader.tags.count("img") == 3
    for reference in drawn.retrieved.references:
        assert reference.caption in reader.text
        assert f"similarity {reference.similarity:.3f}" in reader.text
        assert f"weight {reference.weight:.2f}" in reader.text
    assert "yours" not in reader.text


def with_reference(drawn: Drawn, **changes: str | float | bytes) -> Drawn:
    (first, *_) = drawn.retrieved.references
    changed = dataclasses.replace(first, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(
        drawn, retrieved=dataclasses.replace(drawn.retrieved, references_of=((changed,),))
    )


def test_a_reference_of_ones_own_is_marked(drawn: Drawn) -> None:
    html = references(with_reference(drawn, source=SOURCE, weight=0.0, thumbnail_png=b""), 32)
    assert "yours" in Reader(html).text
    assert "img" not in Reader(html).tags
    assert "rt-unused" in html


def test_no_text_from_outside_becomes_html_or_a_template(drawn: Drawn) -> None:
    html = references(with_reference(drawn, caption=NASTY, source=NASTY, licence=NASTY), 32)
    plain = references(with_reference(drawn, caption="x", source="x", licence="x"), 32)
    assert NASTY in Reader(html).text
    assert Reader(html).tags == Reader(plain).tags
    assert not set("${}`\\") & set(html)


def test_without_references_the_page_says_so(session: Session) -> None:
    none = session.draw("a red circle", seed=5, strength=1, references=0)
    assert "none of 32 captioned pictures" in references(none, 32)


def test_times_stand_side_by_side(drawn: Drawn) -> None:
    rows = re.findall(r"<td>([^<]+)</td><td>([^<]+)</td><td>([^<]+)</td>", times(drawn))
    assert [stage for stage, _, _ in rows] == [stage.replace("_", " ") for stage in drawn.retrieved.timings]
    told = {stage: (without, retrieved) for stage, without, retrieved in rows}
    assert told["adapter"] == ("–", f"{drawn.retrieved.timings['adapter']:.2f}")
    assert told["total"][0] == f"{drawn.without.timings['total']:.2f}"


def test_before_the_first_drawing_there_are_frames(session: Session) -> None:
    assert pictures(None).count("rt-empty") == 2
    assert "References" in references(None, 32)
    assert times(None) == ""


def test_the_header_counts_and_the_note_says_what_becomes_of_additions(session: Session) -> None:
    assert "32 captioned pictures" in header(session)
    assert "gone when the playground ends" in library_note(session)
    kept = library_note(Session(session.generator, temporary=False))
    assert str(session.generator.library.path) in Reader(kept).text
