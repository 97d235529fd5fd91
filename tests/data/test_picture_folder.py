"""Captioned pictures: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.picture_folder import CaptionedPicture, load_pixels, read_picture_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "in/b.png"):
        Image.new("RGB", (6, 4), "red").save(tmp_path / name)
    return tmp_path


def test_csv_and_jsonl_say_the_same(folder: Path) -> None:
    (folder / "metadata.csv").write_text(
        'file_name,text,extra\na.png,"a cat, asleep",1\nin/b.png, a  dog ,2\n'
    )
    read = read_picture_folder(folder)
    assert [(one.path, one.caption) for one in read] == [
        (folder / "a.png", "a cat, asleep"),
        (folder / "in" / "b.png", "a dog"),
    ]
    (folder / "metadata.csv").unlink()
    lines = [{"file_name": "a.png", "caption": "a cat, asleep"}, {"file_name": "in/b.png", "text": "a dog"}]
    (folder / "metadata.jsonl").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    assert read_picture_folder(folder) == read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", b"", "names no picture"),
        ("metadata.csv", b"file_name,text\n", "names no picture"),
        ("metadata.csv", b"file,text\na.png,a cat\n", "line 2: file_name is None"),
        ("metadata.csv", b"file_name,text\na.png,\n", "line 2: .*caption None"),
        ("metadata.csv", b"file_name,text\n../a.png,a cat\n", "outside the folder"),
        ("metadata.csv", b"file_name,text\na.png,\xff\n", "UTF-8"),
        ("metadata.jsonl", b'{"file_name": "a.png"\n', "line 1: no JSON"),
        ("metadata.jsonl", b"[1]\n", "line 1: is a list"),
        ("metadata.jsonl", b'{"file_name": 3, "text": "a cat"}\n', "file_name is 3"),
    ],
)
def test_a_bad_file_is_refused_by_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_picture_folder(folder)


def test_missing_pictures_are_counted_and_named(folder: Path) -> None:
    lines = ["file_name,text", "a.png,a cat", *(f"lost{number}.png,a dog" for number in range(7))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    with pytest.raises(
        FileNotFoundError, match=r"7 of 8 pictures .* lost0.png, .*lost4.png, \.\.\.; put them"
    ):
        read_picture_folder(folder)


def test_no_metadata_and_two_of_them(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metadata.csv or metadata.jsonl"):
        read_picture_folder(folder)
    for name in ("metadata.csv", "metadata.jsonl"):
        (folder / name).write_text("")
    with pytest.raises(ValueError, match="keep one"):
        read_picture_folder(folder)


def test_pictures_of_every_kind_become_squares(tmp_path: Path) -> None:
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 255  # the square in the middle
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.new("RGBA", (5, 5), (0, 0, 0, 0)).save(tmp_path / "transparent.png")
    Image.new("CMYK", (5, 5)).save(tmp_path / "print.jpg")
    Image.new("L", (5, 5), 255).save(tmp_path / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    upper = Image.new("RGB", (4, 8), "white")
    upper.paste("black", (0, 0, 2, 8))  # the left half; turned right, the upper one
    upper.save(tmp_path / "turned.png", exif=exif)
    names = ("wide.png", "transparent.png", "print.jpg", "grey.png", "turned.png")
    pixels = load_pixels([CaptionedPicture(tmp_path / name, "") for name in names], 4)
    assert pixels.shape == (5, 3, 4, 4)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:4], 1.0, atol=0.02)
    assert pixels[4, :, 0].max() < -0.9
    assert pixels[4, :, 3].min() > 0.9


@pytest.mark.parametrize("keep", [0, 60])
def test_a_cut_off_picture_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.png"
    Image.effect_noise((32, 32), 50).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut\.png: not a picture"):
        load_pixels([CaptionedPicture(path, "")], 8)
