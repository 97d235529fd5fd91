"""Reads one picture file: the first frame, upright, on white, its middle square, scaled.

Pillow's readers are called by their names and not through ``Image.open``, which warns of a large picture before
anybody can look at its size. A warning cannot be held back in one thread alone before Python 3.14:
``warnings.catch_warnings`` changes the whole process. So what Pillow says of damaged EXIF data and the like goes where
the host sends its warnings; where it makes them errors, such a picture is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ragturbo_runtime.arrays import Pixels
from ragturbo_runtime.collection.eight_bits import eight_bits
from ragturbo_runtime.collection.entry import PictureError

MAX_PIXELS = 64_000_000
"""Of a picture as it is stored: 8000 x 8000. Decoding takes up to six bytes for each."""
_DRAFT = 2
"""A JPEG is decoded at this many times the side wanted, or more: the filter then sees all it would use."""
_READERS: tuple[tuple[bytes, Callable[[IO[bytes]], ImageFile]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    (rb"\xff\xd8\xff", JpegImageFile),
    (rb"RIFF....WEBP", WebPImageFile),
    (rb"GIF8[79]a", GifImageFile),
    (rb"BM", BmpImageFile),
    (rb"II[*+]\0|MM\0[*+]", TiffImageFile),
)
"""How a file begins, whatever it is called."""
_FORMATS = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation: what makes the picture upright."""


def read_picture(source: Path | bytes, side: int, *, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read a picture. Threads may do so at the same time.

    Args:
        source: A file, or a file's bytes: PNG, JPEG, WebP, GIF, BMP or TIFF.
        side: Of the result, pixels.
        name: What the picture is called in an error.
        max_pixels: Width times height that is decoded at most.

    Returns:
        (side, side, 3) uint8, sRGB.

    Raises:
        PictureError: It is no such picture, is damaged or cut off, too large, or has pixels of another kind.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            return _scaled(_decoded(file, side, max_pixels), side)
    # Of a damaged file Pillow's decoders raise what comes: SyntaxError, struct.error, MemoryError, a warning that
    # the host made an error.
    except Exception as error:
        # Only an error of the system, not of a decoder, has a number.
        lost = isinstance(error, OSError) and error.errno is not None
        hint = "put it there, readable" if lost else "make it smaller or save it as PNG"
        raise PictureError(
            f"{name}: not a picture that can be read ({_reason(error)})", hint=f"{hint}, or take it out"
        ) from error


def square_of(image: Image.Image, side: int, *, name: str) -> Pixels:
    """Do with a picture that a host has in memory what `read_picture` does with a file's.

    Args:
        image: Any mode that Pillow converts.
        side: Of the result, pixels.
        name: What the picture is called in an error.

    Returns:
        (side, side, 3) uint8, sRGB.

    Raises:
        PictureError: It is empty, was closed, or has pixels of another kind.
    """
    try:
        return _scaled(eight_bits(image), side)
    except Exception as error:
        raise PictureError(
            f"{name}: not a picture that can be used ({_reason(error)})", hint="convert it to RGB"
        ) from error


def _scaled(picture: Image.Image, side: int) -> Pixels:
    if 0 in picture.size:  # Pillow would scale nothing to black
        raise ValueError("it has no pixels")
    square = _on_white(_middle_square(_upright(picture)))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS), dtype=np.uint8)


def _decoded(file: IO[bytes], side: int, max_pixels: int) -> Image.Image:
    start = file.read(16)
    reader = next((made for begins, made in _READERS if re.match(begins, start, re.DOTALL)), None)
    if reader is None:
        raise ValueError(f"it begins with {start[:8]!r}, expected {_FORMATS}" if start else "it is empty")
    file.seek(0)
    picture = reader(file)
    width, height = picture.size
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels, at most {max_pixels:,} are allowed")
    picture.draft("RGB", (_DRAFT * side, _DRAFT * side))  # in the other formats there is no such thing
    picture.load()
    return eight_bits(picture)


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its camera says (a TIFF's reader has done so)."""
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block is common, and says nothing of the pixels
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _middle_square(picture: Image.Image) -> Image.Image:
    """Cut before scaling: resize(box=...) would filter in pixels from outside the box."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _reason(error: Exception) -> str:
    """What the system says of a file, without its number and the path, which stands before."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
