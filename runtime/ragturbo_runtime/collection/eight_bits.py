"""Brings greys of 16 bits to 8: Pillow's own conversion clips, and a picture would be white nearly everywhere."""

from __future__ import annotations

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

_WHITE_IS_ZERO = 0


def eight_bits(picture: Image.Image) -> Image.Image:
    """Return a decoded picture with 8 bits for each value: itself, if it has.

    Args:
        picture: Of any mode, decoded.

    Returns:
        A picture of 8 bits; its EXIF data are kept.

    Raises:
        ValueError: Nothing says which of its values are black and white.
    """
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    if isinstance(picture, TiffImageFile):
        _require_plain(picture)
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("its pixels have 32 bits or a sign, expected 8 or 16 bits")
    greys = np.right_shift(values, 8).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if transparent is not None:
        greys[values == transparent] = 0xFF  # as on white, which all that is transparent is laid on
    made = Image.fromarray(greys)
    made.info = {key: kept for key, kept in picture.info.items() if key != "transparency"}
    return made


def _require_plain(picture: TiffImageFile) -> None:
    """Pillow hands out 12 bits, and greys that count from white, as if they were plain 16 bits."""
    bits, meaning = (picture.tag_v2.get(tag) for tag in (BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION))
    if bits == (12,) or meaning == _WHITE_IS_ZERO:
        raise ValueError(
            f"its pixels have {bits} bits, black and white in order {meaning}, expected 16 and 1"
        )
