"""One caption's pictures side by side, with the references that were looked up and their captions beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.atomic import save_atomically

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8."""
_SCALE = 2  # of the drawn pictures: 64 pixels are small to look at
_GAP, _LABEL, _FONT, _LINE = 8, 18, 11, 13
_CAPTION = 168  # pixels of room beside a reference
_LETTERS = 30  # that fit into it
_PER_COLUMN = 2
_COLOURS = 128  # of the palette: a third of the size, and no difference that one sees
INK, MUTED = "#1c1c1e", "#6b6b70"


@dataclass(frozen=True)
class Shown:
    """One reference as it was retrieved."""

    picture: Picture
    caption: str
    weight: float
    """Lambda, 0 to 1."""


def save_strip(path: Path, pictures: Mapping[str, Picture], references: Sequence[Shown]) -> None:
    """Draw a strip and write it with a palette.

    Args:
        path: A PNG file.
        pictures: Label -> picture, all of one size.
        references: In the order of retrieval; none draws a line that says so.
    """
    strip = draw_strip(pictures, references).quantize(
        _COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    save_atomically(path, lambda beside: strip.save(beside, format="PNG", optimize=True))


def draw_strip(pictures: Mapping[str, Picture], references: Sequence[Shown]) -> Image.Image:
    """Draw the pictures, then the references in columns of two, each half as large with its caption at its side."""
    side = _SCALE * next(iter(pictures.values())).shape[0]
    small = (side - _GAP) // _PER_COLUMN
    columns = max(1, -(-len(references) // _PER_COLUMN))
    first = len(pictures) * (side + _GAP) + _GAP
    width = first + columns * (small + _CAPTION + 2 * _GAP)
    strip = Image.new("RGB", (width, _LABEL + side), "white")
    pen = ImageDraw.Draw(strip)
    for number, (label, picture) in enumerate(pictures.items()):
        x = number * (side + _GAP)
        _text(pen, (x, 2), label, MUTED)
        strip.paste(_resized(picture, side, Image.Resampling.NEAREST), (x, _LABEL))
    _text(pen, (first, 2), "references" if references else "no references were near enough", MUTED)
    for number, reference in enumerate(references):
        column, line = divmod(number, _PER_COLUMN)
        x, y = first + column * (small + _CAPTION + 2 * _GAP), _LABEL + line * (small + _GAP)
        strip.paste(_resized(reference.picture, small, Image.Resampling.LANCZOS), (x, y))
        _beside(pen, (x + small + 6, y), reference, (small - 2) // _LINE)
    return strip


def _beside(pen: ImageDraw.ImageDraw, at: tuple[int, int], reference: Shown, lines: int) -> None:
    """The caption, cut to the room, and the weight below it."""
    caption = textwrap.wrap(reference.caption, _LETTERS, max_lines=max(1, lines - 1), placeholder=" ...")
    for number, line in enumerate(caption):
        _text(pen, (at[0], at[1] + number * _LINE), line, INK)
    _text(pen, (at[0], at[1] + len(caption) * _LINE), f"weight {reference.weight:.2f}", MUTED)


def _resized(picture: Picture, side: int, how: Image.Resampling) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), how)


def _text(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str) -> None:
    pen.text(at, text, font=ImageFont.load_default(size=_FONT), fill=colour)
