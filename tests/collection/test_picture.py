"""One picture: whatever it is stored as, it comes out upright, on white, square, in 8 bits."""

from __future__ import annotations

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ragturbo_runtime.collection.entry import PictureError
from ragturbo_runtime.collection.picture import read_picture
from tests.collection.made import encoded, scenery

ORIENTATION = 0x0112
UPRIGHT = Image.fromarray(scenery(24, 24))


def read(source: Any, side: int = 24, **limits: Any) -> Any:
    return read_picture(source, side, name="it", **limits)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("PNG", {"bits": 8, "optimize": True}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate", "big_tiff": True}),
    ],
)
def test_the_pixels_of_a_lossless_file(tmp_path: Any, kind: str, options: dict[str, Any]) -> None:
    data = encoded(UPRIGHT, kind, **options)
    (tmp_path / "no-ending").write_bytes(data)
    for source in (data, tmp_path / "no-ending"):
        pixels = read(source)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, scenery(24, 24))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_near(options: dict[str, Any]) -> None:
    data = encoded(UPRIGHT.resize((64, 64)), "JPEG", quality=95, **options)
    with Image.open(io.BytesIO(data)) as whole:
        np.testing.assert_array_equal(read(data, 64), np.asarray(whole))


def test_the_middle_square_is_cut_before_it_is_scaled() -> None:
    """A filter that saw the red beside the square would tint its edges."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 20:40] = 200
    for turned in (pixels, pixels.swapaxes(0, 1)):
        found = read(encoded(Image.fromarray(np.ascontiguousarray(turned)), "PNG"), 10)
        assert found.shape == (10, 10, 3)
        assert (found == 200).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(24, 40), (25, 40)])
def test_a_turned_picture_reads_as_the_upright_one(
    kind: str, orientation: int, size: tuple[int, int]
) -> None:
    """Also where the square is not exactly in the middle: the other way round it would be a pixel off."""
    upright = Image.fromarray(scenery(*size))
    stored = upright
    if orientation > 1:
        exif = Image.Exif()
        exif[ORIENTATION] = {6: 8, 8: 6}.get(orientation, orientation)  # each but these undoes itself
        stored = _turned(upright, exif)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(read(data, 12), read(encoded(upright, "PNG"), 12))


def _turned(picture: Image.Image, exif: Image.Exif) -> Image.Image:
    file = io.BytesIO(encoded(picture, "PNG", exif=exif))
    with Image.open(file) as opened:
        return ImageOps.exif_transpose(opened)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_jpeg(orientation: int) -> None:
    """What phones write; scaled down while it is decoded."""
    upright = Image.fromarray(scenery(96, 160))
    undone = Image.Exif()
    undone[ORIENTATION] = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = read(encoded(_turned(upright, undone), "JPEG", quality=98, exif=exif), 16)
    wanted = read(encoded(upright, "PNG"), 16)
    assert np.abs(found.astype(int) - wanted).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, which a host may see too
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_exif_turns_nothing(kind: str, exif: bytes) -> None:
    plain, damaged = encoded(UPRIGHT, kind), encoded(UPRIGHT, kind, exif=exif)
    np.testing.assert_array_equal(read(damaged), read(plain))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA", "PA"])
def test_modes_that_pillow_converts(mode: str) -> None:
    picture = UPRIGHT.convert("L").convert(mode) if mode in {"LA", "1"} else UPRIGHT.convert(mode)
    data = encoded(picture, "TIFF" if mode in {"CMYK", "YCbCr", "PA"} else "PNG")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            wanted = np.asarray(opened.convert("RGB"))
    except OSError:  # Pillow 12.3 cannot read the YCbCr TIFF that it has written
        with pytest.raises(PictureError, match="truncated"):
            read(data)
        return
    np.testing.assert_array_equal(read(data), wanted)


def test_a_cmyk_jpeg_is_no_negative() -> None:
    """Adobe stores such files inverted."""
    found = read(encoded(UPRIGHT.resize((64, 64)).convert("CMYK"), "JPEG", quality=98), 24)
    assert np.abs(found.astype(int) - scenery(24, 24)).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    greys = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 113
    found = read(encoded(Image.fromarray(greys), kind))
    np.testing.assert_array_equal(found, np.repeat((greys >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_16_bits_of_the_other_byte_order_and_turned() -> None:
    greys = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 113
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    wanted = (greys >> 8).astype(np.uint8)
    data = encoded(Image.fromarray(greys.astype(">u2")), "TIFF")
    assert data[:2] == b"MM"
    np.testing.assert_array_equal(read(data)[..., 0], wanted)
    data = encoded(Image.fromarray(greys), "PNG", exif=exif)
    np.testing.assert_array_equal(read(data)[..., 1], wanted[::-1, ::-1])


def test_16_bits_in_colour() -> None:
    wide = np.arange(4 * 4 * 3, dtype=np.uint16).reshape(4, 4, 3) * 1300
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    np.testing.assert_array_equal(read(_png(4, 4, 16, 2, rows), 4), (wide >> 8).astype(np.uint8))


def test_one_transparent_grey_of_16_bits_is_white() -> None:
    greys = np.full((4, 4), 0x1234, np.uint16)
    greys[0] = 0x8000
    data = encoded(Image.fromarray(greys), "PNG")
    end = data.index(b"IDAT") - 4
    found = read(data[:end] + _chunk(b"tRNS", b"\x12\x34") + data[end:], 4)
    assert (found[0] == 0x80).all()
    assert (found[1:] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.full((4, 4), 0.5, np.float32), "floating-point numbers, expected 8 or 16 bits"),
        (np.full((4, 4), 70_000, np.int32), "32 bits or a sign"),
        (np.full((4, 4), -1, np.int32), "32 bits or a sign"),
    ],
)
def test_pixels_that_have_no_scale_are_refused(pixels: Any, said: str) -> None:
    with pytest.raises(PictureError, match=f"it: not a picture that can be read .*{said}"):
        read(encoded(Image.fromarray(pixels), "TIFF"))


def test_greys_that_count_from_white_are_refused() -> None:
    data = bytearray(encoded(Image.fromarray(np.full((4, 4), 9, np.uint16)), "TIFF"))
    place = data.index(struct.pack("<HHI", 262, 3, 1))  # PhotometricInterpretation, one short
    data[place + 8 : place + 10] = b"\0\0"
    with pytest.raises(PictureError, match="black and white in order 0"):
        read(bytes(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(kind: str) -> None:
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 8, 4))
    picture.paste((0, 0, 0, 128), (0, 4, 8, 5))
    found = read(encoded(picture, kind, **({"lossless": True} if kind == "WEBP" else {})), 8)
    assert (found[:4] == [0, 0, 255]).all()
    assert (found[4] == 127).all()
    assert (found[5:] == 255).all()


@pytest.mark.parametrize(
    ("kind", "mode", "colour", "transparent"),
    [
        ("GIF", "P", 1, 0),
        ("PNG", "P", 1, 0),
        ("PNG", "P", 1, b"\0\xff"),
        ("PNG", "1", 1, 0),
        ("PNG", "L", 9, 0),
        ("PNG", "RGB", (9, 0, 0), (0, 0, 0)),
    ],
)
def test_a_transparent_colour_is_white(kind: str, mode: str, colour: Any, transparent: Any) -> None:
    picture = Image.new(mode, (8, 8), 0)
    if mode == "P":
        picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.paste(colour, (0, 0, 8, 4))
    found = read(encoded(picture, kind, transparency=transparent), 8)
    assert (found[4:] == 255).all()
    assert (found[:4] == {"P": [200, 0, 0], "1": 255, "L": 9, "RGB": [9, 0, 0]}[mode]).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    if kind != "TIFF":
        options["duration"] = 50
    data = encoded(frames[0], kind, **options, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3
    assert (read(data, 4) == [250, 0, 0]).all()


def test_a_jpeg_of_two_pictures_is_the_first() -> None:
    """Phones write MPO, with the ending .jpg."""
    two = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    data = encoded(two[0], "MPO", save_all=True, append_images=two[1:])
    assert np.abs(read(data, 4).astype(int) - [250, 0, 0]).max() <= 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"\(it is empty\)"),
        (b"<!DOCTYPE html><title>404</title>", r"begins with b'<!DOCTYP', expected PNG, JPEG, WebP, GIF"),
        (b"\x89PNG\r\n\x1a\n", "not a picture that can be read"),
        (b"8BPS\0\1" + bytes(80), "expected PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "expected PNG"),
        (b"\0\0\1\0\1\0" + bytes(80), "expected PNG"),
        (b"RIFF\x20\0\0\0WAVEfmt " + bytes(40), "expected PNG"),
        (b"BM", "not a picture that can be read"),
    ],
)
def test_what_is_no_picture(tmp_path: Any, data: bytes, said: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(PictureError, match=said) as caught:
            read(source)
        assert str(caught.value).endswith("; make it smaller or save it as PNG, or take it out")
        assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(PictureError) as caught:
        read(tmp_path / "x.png")
    said = "it: not a picture that can be read (No such file or directory); put it there, readable, or take it out"
    assert str(caught.value) == said


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _bombs() -> dict[str, bytes]:
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    bmp = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    jpeg = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    webp = bytearray(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 9)), "WEBP", exif=b"Exif\0\0"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = b"\xfe\x3f\0\xfe\x3f\0"
    return {
        "png": _png(100_000, 100_000, 8, 2, b""),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "jpeg": bytes(jpeg),
        "webp": bytes(webp),
        # Between Pillow's warning and its error, and between our limit and its warning.
        "warned": _png(10_000, 10_000, 8, 2, b""),
        "ours": _png(8_001, 8_000, 8, 2, b""),
    }


@pytest.mark.parametrize("kind", _bombs())
def test_a_bomb_is_refused_by_its_header(kind: str) -> None:
    """By ours, but for WebP, whose decoder has the canvas before it tells its size: by Pillow, or libwebp."""
    started = time.process_time()
    with pytest.raises(
        PictureError, match=r"it: not a picture that can be read .*(?:pixels|decoder).*; make it smaller"
    ) as caught:
        read(_bombs()[kind])
    assert kind == "webp" or "at most 64,000,000 are allowed" in caught.value.message
    assert time.process_time() - started < 1


def test_the_limit_is_said() -> None:
    with pytest.raises(PictureError, match=r"\(100000 x 100000 pixels, at most 64,000,000 are allowed\)"):
        read(_bombs()["png"])
    data = encoded(UPRIGHT, "PNG")
    with pytest.raises(PictureError, match=r"24 x 24 pixels, at most 575 are"):
        read(data, max_pixels=24 * 24 - 1)
    np.testing.assert_array_equal(read(data, max_pixels=24 * 24), scenery(24, 24))


def test_pillows_own_limit_is_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    read(encoded(UPRIGHT, "PNG"))
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_large_jpeg_is_decoded_small() -> None:
    """And looks as if it had been decoded whole."""
    grain = np.random.default_rng(0).integers(-20, 20, (1600, 1600, 1))
    picture = Image.fromarray(np.clip(scenery(1600, 1600) + grain, 0, 255).astype(np.uint8))
    found = read(encoded(picture, "JPEG", quality=92), 100)
    wanted = read(encoded(picture, "PNG"), 100)
    assert np.abs(found.astype(int) - wanted).mean() < 1.5


def test_threads_read_at_the_same_time(tmp_path: Any) -> None:
    kinds = {
        "PNG": {},
        "JPEG": {},
        "GIF": {},
        "WEBP": {"lossless": True},
        "TIFF": {"compression": "tiff_lzw"},
    }
    paths = [tmp_path / kind for kind in kinds]
    for path in paths:
        path.write_bytes(encoded(UPRIGHT, path.name, **kinds[path.name]))
    alone = [read(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [read(path) for path in paths], range(40)):
            for ours, theirs in zip(found, alone, strict=True):
                np.testing.assert_array_equal(ours, theirs)
