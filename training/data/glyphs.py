"""The glyph atlas: every concept's picture, once, and copies scaled to a size.

The atlas is committed, so that a scene is the same on every machine, whichever version of the font is installed there,
and no font is needed to train or to test. `python -m training.data.glyphs --font FILE` draws it anew.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.atomic import save_atomically
from training.data.concepts import concepts
from training.data.inventions import Tile, is_invented, paint, parse_invention

ATLAS = Path(__file__).with_name("glyphs.webp")
TILE = 128  # pixels; Noto's bitmaps are 136x128
COLUMNS = 24
KEPT = 8192  # pictures in memory, of up to 260 kB: a family's concepts in all their sizes are some 2,500


@lru_cache(maxsize=KEPT)
def glyph(name: str, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One concept's picture at one size.

    Args:
        name: A concept's name, or an invention's key.
        size: Side in pixels, 1 to 128.

    Returns:
        Premultiplied colour (size, size, 3) float32 in [0, 255], and what of the ground shines through,
        (size, size, 1) float32 in [0, 1].
    """
    scaled = _resize(_tile(name), size)
    return scaled[..., :3], 1.0 - scaled[..., 3:] / 255.0


def _tile(name: str) -> Tile:
    if is_invented(name):
        return paint(parse_invention(name), _tile)
    row, column = divmod(list(concepts()).index(name), COLUMNS)
    box = (column * TILE, row * TILE, (column + 1) * TILE, (row + 1) * TILE)
    tile = np.asarray(_atlas().crop(box), dtype=np.float32)
    tile[..., :3] *= tile[..., 3:] / 255.0
    return tile


def draw_atlas(font_file: Path) -> Image.Image:
    """Draw the atlas with a font.

    Args:
        font_file: NotoColorEmoji.ttf (bitmaps of 109 pixels).

    Returns:
        An RGBA picture, ``COLUMNS`` tiles wide, in the order of `concepts`.

    Raises:
        ValueError: The font draws nothing for a concept.
    """
    from PIL import ImageFont

    font = ImageFont.truetype(str(font_file), size=109)
    rows = -(-len(concepts()) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for place, concept in enumerate(concepts().values()):
        row, column = divmod(place, COLUMNS)
        atlas.paste(_draw_tile(concept.emoji, font), (column * TILE, row * TILE))
    return atlas


def _draw_tile(emoji: str, font: object) -> Image.Image:
    from PIL import ImageDraw

    canvas = Image.new("RGBA", (136, 128))
    ImageDraw.Draw(canvas).text((0, 0), emoji, font=font, embedded_color=True)  # type: ignore[arg-type]
    box = canvas.getbbox()
    if box is None:
        raise ValueError(
            f"the font has no glyph for {emoji!r} (U+{ord(emoji):X}); use a newer Noto Color Emoji"
        )
    return _centred(canvas.crop(box))


def _centred(picture: Image.Image) -> Image.Image:
    """Scale to the tile's longer side and centre, so that every concept fills its square alike."""
    scale = TILE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    tile = Image.new("RGBA", (TILE, TILE))
    tile.paste(
        picture.resize((width, height), Image.Resampling.LANCZOS), ((TILE - width) // 2, (TILE - height) // 2)
    )
    return tile


def _resize(tile: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    planes = [
        Image.fromarray(plane).resize((size, size), Image.Resampling.BOX) for plane in np.moveaxis(tile, 2, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


@cache
def _atlas() -> Image.Image:
    return Image.open(ATLAS).convert("RGBA")


def main() -> None:
    """Draw the atlas anew from a font file."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m training.data.glyphs", description=main.__doc__)
    parser.add_argument("--font", type=Path, required=True, help="NotoColorEmoji.ttf")
    atlas = draw_atlas(parser.parse_args().font)
    save_atomically(
        ATLAS, lambda beside: atlas.save(beside, format="WEBP", lossless=True, quality=100, method=6)
    )


if __name__ == "__main__":
    main()
