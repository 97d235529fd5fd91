"""The small picture by which a person recognises a reference."""

from __future__ import annotations

import io

from PIL import Image

from ragturbo_runtime.arrays import Pixels

SIDE = 256
"""The largest side, pixels."""
_COLOURS = 64
"""In its palette: it is there to be recognised, and takes under half the bytes so."""


def make_thumbnail(picture: Pixels) -> bytes:
    """Make a thumbnail.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        A PNG file's bytes.
    """
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    few = image.quantize(_COLOURS, dither=Image.Dither.NONE)
    png = io.BytesIO()
    few.save(png, format="PNG", optimize=True)
    return png.getvalue()
