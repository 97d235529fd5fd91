"""The demonstration sheet shows the pictures as they are, and text that fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragturbo_sdk import Generator
from ragturbo_sdk.cli.demo import draw_demo
from ragturbo_sdk.cli.sheet import (
    CARD,
    MARGIN,
    PANEL,
    WIDTH,
    Card,
    SheetContent,
    draw_sheet,
    enlarge,
)
from ragturbo_sdk.cli.typesetting import font, wrap


def noise(width: int, height: int, seed: int) -> Image.Image:
    """A picture in which every pixel is another one."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def content(cards: int, *, caption: str = "a cat", prompt: str = "a cat left of two pizzas") -> SheetContent:
    """A sheet's content with some references."""
    return SheetContent(
        prompt=prompt,
        without=noise(64, 64, 1),
        without_note="20 ms",
        retrieved=noise(64, 64, 2),
        retrieved_note="21 ms",
        cards=[Card(noise(64, 64, n), caption, 0.9, n / 16) for n in range(cards)],
        library_note="of 3,000",
        footer="ragturbo",
    )


def find(sheet: Image.Image, picture: Image.Image, x: int) -> bool:
    """Whether the picture stands somewhere in the column, pixel by pixel (the round corners aside)."""
    inner = picture.crop((0, picture.height // 2, picture.width, picture.height // 2 + 1)).tobytes()
    column = sheet.crop((x, 0, x + picture.width, sheet.height)).tobytes()
    return column.find(inner) >= 0


def test_both_pictures_are_on_it_in_hard_pixels() -> None:
    sheet = draw_sheet(content(4))
    assert sheet.width == WIDTH
    assert find(sheet, noise(64, 64, 1).resize((PANEL, PANEL), Image.Resampling.NEAREST), MARGIN)
    assert find(
        sheet, noise(64, 64, 2).resize((PANEL, PANEL), Image.Resampling.NEAREST), WIDTH - MARGIN - PANEL
    )


def test_every_reference_is_on_it() -> None:
    sheet = draw_sheet(content(16))
    for number in range(16):
        x = MARGIN + number % 4 * (CARD + 20) + (CARD - 192) // 2
        assert find(sheet, noise(64, 64, number).resize((192, 192), Image.Resampling.NEAREST), x), number


def test_rows_grow_with_the_references_and_their_captions() -> None:
    heights = [draw_sheet(content(cards)).height for cards in (0, 4, 5, 16)]
    assert heights == sorted(set(heights))
    long = draw_sheet(content(4, caption="a cat left of two pizzas on a blue background")).height
    assert long > heights[1]
    endless = draw_sheet(content(4, caption="supercalifragilistic " * 50, prompt="many words " * 99))
    assert endless.height < heights[1] + 400


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), 448), ((512, 512), 448), ((100, 50), 400), ((1, 1), 448)]
)
def test_pictures_of_any_size_fit(size: tuple[int, int], expected: int) -> None:
    picture = enlarge(noise(*size, 1), 448)
    assert picture.width == expected
    assert picture.height == max(1, expected * size[1] // size[0])
    assert picture.mode == "RGB"


@given(text=st.text(max_size=200), width=st.integers(min_value=60, max_value=400), lines=st.integers(1, 4))
def test_lines_fit(text: str, width: int, lines: int) -> None:
    out = wrap(text, 18, width, lines=lines)
    assert 1 <= len(out) <= lines
    assert all(font(18).getlength(line) <= width for line in out)
    shown = "".join(out).replace(" ", "")
    if len(shown) < len("".join(text.split())):
        assert out[-1].endswith("...")


def test_the_demo_draws_from_the_same_noise(generator: Generator) -> None:
    demo = draw_demo(generator, "a cat", seed=5, references=3)
    assert demo.retrieved.seed == demo.without.seed == 5
    assert len(demo.retrieved.references) == 3
    assert demo.without.references == ()
    plain = generator.generate("a cat", seed=5, retrieval=False)
    assert demo.without.image.tobytes() == plain.image.tobytes()
    assert demo.sheet.width == WIDTH
