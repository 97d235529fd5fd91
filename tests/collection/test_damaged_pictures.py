"""A damaged picture is decoded as it was or refused; nothing else comes out of the reader."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragturbo_runtime.collection.entry import PictureError
from ragturbo_runtime.collection.picture import read_picture
from tests.collection.made import encoded, png, scenery

SIDE = 16
BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"RIFF\xff\0\0\0WEBPVP8 ",
)


def _files() -> dict[str, bytes]:
    picture = Image.fromarray(scenery(24, 32))
    frames = [picture, picture.transpose(Image.Transpose.ROTATE_180)]
    several: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "png": encoded(picture, "PNG", exif=exif),
        "apng": encoded(picture, "PNG", **several),
        "palette": encoded(picture.quantize(16), "PNG", transparency=3),
        "png16": encoded(Image.fromarray(scenery(24, 32)[..., 1].astype(np.uint16) << 8), "PNG"),
        "jpeg": encoded(picture, "JPEG", exif=exif),
        "progressive": encoded(picture, "JPEG", progressive=True),
        "cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "webp": encoded(picture, "WEBP", exif=exif),
        "lossless": encoded(picture, "WEBP", lossless=True),
        "moving": encoded(picture, "WEBP", **several),
        "gif": encoded(picture, "GIF", **several),
        "bmp": encoded(picture, "BMP"),
        "tiff": encoded(picture, "TIFF", exif=exif),
        "lzw": encoded(picture, "TIFF", compression="tiff_lzw"),
    }


FILES = _files()
WHOLE = {kind: read_picture(data, SIDE, name=kind) for kind, data in FILES.items()}


def read_or_refuse(data: bytes) -> Any:
    """The pixels, or None; any other exception, or a warning, fails the test."""
    try:
        return read_picture(data, SIDE, name="it")
    except PictureError:
        return None


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_whole_or_refused(kind: str) -> None:
    data = FILES[kind]
    refused = 0
    for length in range(0, len(data), max(1, min(10, len(data) // 200))):
        found = read_or_refuse(data[:length])
        refused += found is None
        if found is not None:
            np.testing.assert_array_equal(found, WHOLE[kind], err_msg=f"{length} of {len(data)} bytes")
    assert refused > 3


@given(st.sampled_from(sorted(FILES)), st.data())
def test_flipped_bytes_never_break_out(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = read_or_refuse(bytes(damaged))
    assert found is None or found.shape == (SIDE, SIDE, 3)


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400))
def test_random_bytes_never_break_out(beginning: bytes, rest: bytes) -> None:
    read_or_refuse(rest)
    read_or_refuse(beginning + rest)


def test_a_chunk_of_nonsense_between_two_of_pixels() -> None:
    """Pillow reports it as a SyntaxError."""
    whole = png()
    start = whole.index(b"IDAT") - 4
    pixels = whole[start + 8 : start + 8 + int.from_bytes(whole[start : start + 4])][:10]
    half = len(pixels).to_bytes(4) + b"IDAT" + pixels + zlib.crc32(b"IDAT" + pixels).to_bytes(4)
    with pytest.raises(PictureError, match=r"not a picture that can be read \(broken PNG") as caught:
        read_picture(whole[:start] + half + bytes(12), SIDE, name="it")
    assert isinstance(caught.value.__cause__, SyntaxError)
