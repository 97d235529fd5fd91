"""The demonstration sheet: one picture that shows what retrieval did.

Top to bottom: the prompt, the picture without and with retrieval from the same noise, and the references that
were used, each with its caption, its similarity and the weight that it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ragturbo_sdk.cli.typesetting import font, wrap

WIDTH = 1040
MARGIN = 56
PANEL = 448  # 7 x 64: the bundled model's pictures enlarge without a rest
PANEL_GAP = WIDTH - 2 * MARGIN - 2 * PANEL
COLUMNS = 4
CARD_GAP = 20
CARD = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * CARD_GAP) // COLUMNS
THUMBNAIL = 192
CAPTION_SIZE, CAPTION_LINES = 18, 4

PAPER, CARD_FILL, LINE, TRACK = "#f6f5f2", "#ffffff", "#dedbd5", "#e8ebe8"
INK, MUTED, ACCENT = "#1c1c1e", "#6b6b70", "#0f766e"


@dataclass(frozen=True)
class Card:
    """One reference on the sheet."""

    thumbnail: Image.Image
    """The reference picture, any size."""
    caption: str
    similarity: float
    """Cosine between the reference's key and the query's, -1 to 1."""
    weight: float
    """How much it counted, 0 to 1."""


@dataclass(frozen=True)
class SheetContent:
    """All that the sheet says."""

    prompt: str
    without: Image.Image
    """Drawn without references."""
    without_note: str
    """Small print beside its label, such as the time it took."""
    retrieved: Image.Image
    """Drawn from the same noise with references."""
    retrieved_note: str
    cards: Sequence[Card]
    library_note: str
    """Small print beside the references' heading."""
    footer: str


def draw_sheet(content: SheetContent) -> Image.Image:
    """Draw the sheet.

    Args:
        content: The prompt, the two pictures, the references and the small print.

    Returns:
        An RGB picture, 1040 pixels wide and as high as its content needs.
    """
    rows = -(-len(content.cards) // COLUMNS)
    canvas = Image.new("RGB", (WIDTH, 1200 + 400 * rows), PAPER)  # cut to what was used
    y = _draw_title(canvas, content.prompt, MARGIN)
    y = _draw_panels(canvas, content, y + 28)
    y = _draw_references(canvas, content, y + 44)
    _text(canvas, (MARGIN, y + 52), content.footer, 16, MUTED)
    return canvas.crop((0, 0, WIDTH, y + 52 + 40))


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """Bring a picture to fit a square: by a whole number with hard pixels up, by a good filter down.

    Args:
        picture: Any mode, any size.
        side: The square's side, in pixels.

    Returns:
        RGB, the longer side at most ``side``, proportions kept.
    """
    longest = max(picture.size)
    if longest <= side:
        factor = side // longest
        size = (picture.width * factor, picture.height * factor)
        return picture.convert("RGB").resize(size, Image.Resampling.NEAREST)
    size = (max(1, picture.width * side // longest), max(1, picture.height * side // longest))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _draw_title(canvas: Image.Image, prompt: str, y: int) -> int:
    """The prompt, large; returns where the next thing goes, as all drawing functions here do."""
    _text(canvas, (MARGIN, y + 16), "The prompt", 17, MUTED)
    y += 24
    for line in wrap(prompt, 42, WIDTH - 2 * MARGIN, lines=4):
        _text(canvas, (MARGIN, y + 42), line, 42, INK)
        y += 52
    return y


def _draw_panels(canvas: Image.Image, content: SheetContent, y: int) -> int:
    """The two pictures side by side, each under its label."""
    right = MARGIN + PANEL + PANEL_GAP
    _label(canvas, MARGIN, y, "Without retrieval", content.without_note, MUTED)
    _label(canvas, right, y, "With retrieval", content.retrieved_note, ACCENT)
    y += 40
    _panel(canvas, (MARGIN, y), content.without, LINE)
    _panel(canvas, (right, y), content.retrieved, ACCENT)
    return y + PANEL


def _draw_references(canvas: Image.Image, content: SheetContent, y: int) -> int:
    """The heading and the cards, four in a row."""
    _text(canvas, (MARGIN, y + 22), "References it looked up", 24, INK)
    _text(canvas, (WIDTH - MARGIN, y + 22), content.library_note, 17, MUTED, anchor="rs")
    y += 44
    if not content.cards:
        _text(canvas, (MARGIN, y + 22), "Nothing in the library was near enough to the prompt.", 20, MUTED)
        return y + 32
    for first in range(0, len(content.cards), COLUMNS):
        y = _draw_row(canvas, content.cards[first : first + COLUMNS], y) + CARD_GAP
    return y - CARD_GAP


def _draw_row(canvas: Image.Image, cards: Sequence[Card], y: int) -> int:
    """One row of cards, all as high as the one with the longest caption."""
    inner = (CARD - THUMBNAIL) // 2
    captions = [wrap(card.caption, CAPTION_SIZE, THUMBNAIL, lines=CAPTION_LINES) for card in cards]
    bottom = y + inner + THUMBNAIL + 10 + 24 * max(len(caption) for caption in captions) + 62
    for column, (card, caption) in enumerate(zip(cards, captions, strict=True)):
        x = MARGIN + column * (CARD + CARD_GAP)
        _box(canvas, (x, y, x + CARD, bottom), CARD_FILL, LINE, radius=14)
        _framed(canvas, (x + inner, y + inner), enlarge(card.thumbnail, THUMBNAIL), THUMBNAIL, radius=8)
        for row, line in enumerate(caption):
            _text(canvas, (x + inner, y + inner + THUMBNAIL + 28 + 24 * row), line, CAPTION_SIZE, INK)
        _draw_numbers(canvas, x + inner, bottom - 48, card)
    return bottom


def _draw_numbers(canvas: Image.Image, x: int, y: int, card: Card) -> None:
    """Similarity and weight in figures, the weight as a bar as well."""
    _text(canvas, (x, y + 12), f"similarity {card.similarity:.2f}", 15, MUTED)
    _text(canvas, (x + THUMBNAIL, y + 12), f"weight {card.weight:.2f}", 15, ACCENT, anchor="rs")
    _box(canvas, (x, y + 22, x + THUMBNAIL, y + 28), TRACK, TRACK, radius=3)
    filled = round(THUMBNAIL * min(max(card.weight, 0.0), 1.0))
    if filled >= 6:  # narrower than the bar is high, it could not be round
        _box(canvas, (x, y + 22, x + filled, y + 28), ACCENT, ACCENT, radius=3)


def _label(canvas: Image.Image, x: int, y: int, label: str, note: str, colour: str) -> None:
    """A panel's label with a coloured dot, and small print at the panel's right edge."""
    _box(canvas, (x, y + 8, x + 14, y + 22), colour, colour, radius=7)
    _text(canvas, (x + 24, y + 23), label, 24, INK)
    _text(canvas, (x + PANEL, y + 23), note, 17, MUTED, anchor="rs")


def _panel(canvas: Image.Image, corner: tuple[int, int], picture: Image.Image, frame: str) -> None:
    """A picture in its square, with a frame around it."""
    x, y = corner
    _box(canvas, (x - 4, y - 4, x + PANEL + 4, y + PANEL + 4), frame, frame, radius=16)
    _framed(canvas, corner, enlarge(picture, PANEL), PANEL, radius=12)


def _framed(
    canvas: Image.Image, corner: tuple[int, int], picture: Image.Image, side: int, *, radius: int
) -> None:
    """Paste a picture into the middle of a square with round corners."""
    square = Image.new("RGB", (side, side), CARD_FILL)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    canvas.paste(square, corner, _round_mask(side, side, radius))


def _box(
    canvas: Image.Image, box: tuple[int, int, int, int], fill: str, outline: str, *, radius: int
) -> None:
    """A rectangle with smooth round corners and a line of one pixel around it."""
    width, height = box[2] - box[0], box[3] - box[1]
    canvas.paste(outline, box, _round_mask(width, height, radius))
    inside = (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)
    canvas.paste(fill, inside, _round_mask(width - 2, height - 2, max(0, radius - 1)))


def _round_mask(width: int, height: int, radius: int) -> Image.Image:
    """White inside a rounded rectangle; drawn four times too large, so that its edge comes out smooth."""
    large = Image.new("L", (4 * width, 4 * height), 0)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 4 * radius, fill=255)
    return large.resize((width, height), Image.Resampling.BOX)


def _text(
    canvas: Image.Image, at: tuple[int, int], text: str, size: int, fill: str, *, anchor: str = "ls"
) -> None:
    """One line of text; ``at`` is the left ("ls") or right ("rs") end of its base line."""
    ImageDraw.Draw(canvas).text(at, text, font=font(size), fill=fill, anchor=anchor)
