"""Setting text in Pillow's own font: measuring, and breaking it into lines that fit."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font(size: int) -> Font:
    """Pillow's own font, so that no font file has to be found.

    Args:
        size: Height of the letters, in pixels.

    Returns:
        The font, loaded once per size.
    """
    return ImageFont.load_default(size=size)


def wrap(text: str, size: int, width: float, *, lines: int) -> list[str]:
    """Break text into lines that fit, between words where possible.

    Args:
        text: What to set; any run of white space counts as one space.
        size: The font's size, in pixels.
        width: The room, in pixels.
        lines: At most so many; what does not fit is replaced by three dots.

    Returns:
        One to ``lines`` lines, none wider than ``width``.
    """
    out = [""]
    for word in text.split():
        for piece in _pieces(word, size, width):
            joined = f"{out[-1]} {piece}" if out[-1] else piece
            if _width(joined, size) <= width:
                out[-1] = joined
            else:
                out.append(piece)
    if len(out) > lines:
        out = [*out[: lines - 1], _shorten(out[lines - 1], size, width)]
    return out


def _width(text: str, size: int) -> float:
    return font(size).getlength(text)


def _pieces(word: str, size: int, width: float) -> list[str]:
    """The word itself, or, when it is wider than a line, pieces of it that are not."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and _width(pieces[-1] + letter, size) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _shorten(text: str, size: int, width: float) -> str:
    """Text that ends in three dots and fits."""
    while text and _width(f"{text}...", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
