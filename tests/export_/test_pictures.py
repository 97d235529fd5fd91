"""Libraries from a folder of pictures, in the layout of Hugging Face's imagefolder."""

from __future__ import annotations

import dataclasses
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from export.errors import ExportError
from export.pictures import folder_entries, generated_entries
from training.data.render import draw
from training.data.splits import scene
from training.data.world import parse_world


def _picture(folder, name, colour, size=(48, 32)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    _picture(tmp_path, "red.png", (255, 0, 0))
    _picture(tmp_path, "train/blue.webp", (0, 0, 255))
    return tmp_path


def test_csv_with_every_column(folder):
    (folder / "metadata.csv").write_text(
        'file_name,text,source,license\nred.png,"a red, plain thing",mine,CC0\ntrain/blue.webp,a blue thing,,\n'
    )
    red, blue = folder_entries(folder, 16)
    assert (red.id, red.caption, red.source, red.licence) == ("red.png", "a red, plain thing", "mine", "CC0")
    assert (blue.id, blue.caption, blue.source, blue.licence) == (
        "train/blue.webp",
        "a blue thing",
        "",
        "unknown",
    )
    assert red.load().shape == (16, 16, 3)
    assert red.load().dtype == np.uint8
    assert (red.load() == [255, 0, 0]).all()


def test_jsonl_and_the_column_caption(folder):
    rows = [{"file_name": "red.png", "caption": "red"}, {"file_name": "train/blue.webp", "text": "blue"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert [entry.caption for entry in folder_entries(folder, 16)] == ["red", "blue"]


def test_the_middle_square_is_taken(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\nwide.png,a grey square\n")
    loaded = folder_entries(tmp_path, 10)[0].load()
    assert (loaded == 200).all()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("file_name,text\nred.png,\n", "needs file_name and text"),
        ("picture,text\nred.png,red\n", "needs file_name and text"),
        ("file_name,text\ngreen.png,green\n", "no such picture"),
        ("file_name,text\n../outside.png,green\n", "no such picture inside"),
        ("file_name,text\n", "lists no picture"),
        ("file_name,text\nred.png,a\nred.png,b\n", "file_name twice"),
        (
            "file_name,text\nred.png,a red, plain thing\n",
            r"csv:2: 3 values for 2 columns \(file_name, text\); put",
        ),
        ("file_name,text,source\n\nred.png,red\n", "csv:3: 2 values for 3 columns"),
        ('file_name,text\nred.png,"red\ntrain/blue.webp,blue\n', "not CSV .*; put a text"),
        (f"file_name,text\n{'x' * 300}.png,red\n", "csv:2: x+.png: no such picture inside"),
        ("file_name,text\na\0b.png,red\n", "no such picture inside"),
    ],
)
def test_bad_metadata_names_its_line(folder, metadata, said):
    _picture(folder.parent, "outside.png", (0, 0, 0))
    (folder / "metadata.csv").write_text(metadata)
    with pytest.raises(ExportError, match=said):
        folder_entries(folder, 16)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("latin-1", ":2: byte 0xe2 is not UTF-8; save the file as UTF-8"),
        ("utf-16", ":1: byte 0xff is not UTF-8"),
    ],
)
def test_a_list_in_another_encoding_names_its_line(folder, name, encoding, said):
    (folder / name).write_bytes("file_name,text\nred.png,une pâtisserie à la crème brûlée\n".encode(encoding))
    with pytest.raises(ExportError, match=name + said):
        folder_entries(folder, 16)


@pytest.mark.parametrize("mark", [b"", "\ufeff".encode()])
def test_utf8_is_read_with_and_without_a_mark_of_its_own(folder, mark):
    (folder / "metadata.csv").write_bytes(mark + "file_name,text\r\nred.png,une pâtisserie\r\n".encode())
    assert [entry.caption for entry in folder_entries(folder, 16)] == ["une pâtisserie"]


def test_a_json_text_may_hold_unicode_line_separators(folder):
    row = {"file_name": "red.png", "text": "red\u2028and\x85plain"}
    (folder / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [entry.caption for entry in folder_entries(folder, 16)] == [row["text"]]


def test_bad_json_names_its_line(folder):
    (folder / "metadata.jsonl").write_text('{"file_name": "red.png", "text": "red"}\n{oops\n')
    with pytest.raises(ExportError, match=r"metadata\.jsonl:2: not JSON"):
        folder_entries(folder, 16)


def test_a_file_that_is_no_picture(folder):
    (folder / "red.png").write_text("not a picture")
    (folder / "metadata.csv").write_text("file_name,text\nred.png,red\n")
    with pytest.raises(
        ExportError, match=r"csv:2: .*red\.png: not a picture that can be read .*; make it smaller"
    ):
        folder_entries(folder, 16)[0].load()


def test_a_picture_that_is_too_large_is_refused(folder, monkeypatch):
    """Pillow's DecompressionBombError is no OSError."""
    (folder / "metadata.csv").write_text("file_name,text\nred.png,red\n")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 // 2 - 1)
    with pytest.raises(ExportError, match=r"csv:2: .*red\.png: .*exceeds limit.*; make it smaller"):
        folder_entries(folder, 16)[0].load()


def test_a_picture_that_breaks_in_the_middle_is_refused(folder):
    """Pillow reports a chunk of nonsense between two chunks of pixels as a SyntaxError."""
    whole = (folder / "red.png").read_bytes()
    start = whole.index(b"IDAT") - 4
    pixels = whole[start + 8 : start + 8 + int.from_bytes(whole[start : start + 4])][:10]
    half = len(pixels).to_bytes(4) + b"IDAT" + pixels + zlib.crc32(b"IDAT" + pixels).to_bytes(4)
    (folder / "red.png").write_bytes(whole[:start] + half + bytes(12))
    (folder / "metadata.csv").write_text("file_name,text\nred.png,red\n")
    with pytest.raises(ExportError, match=r"red\.png: not a picture that can be read \(broken PNG") as caught:
        folder_entries(folder, 16)[0].load()
    assert isinstance(caught.value.__cause__, SyntaxError)


def test_generated_entries_are_the_scenes_of_the_library_split(models):
    entries = generated_entries(models.family)
    world = parse_world(models.family.settings["config"]["world"])
    assert len(entries) == 24
    assert len({entry.id for entry in entries}) == 24
    expected = scene(world, "library", 7)
    assert entries[7].caption == expected.caption
    np.testing.assert_array_equal(entries[7].load(), draw(expected, 32))


@pytest.mark.parametrize("library", [{}, {"generator": "photos", "split": "library", "count": 3}, None])
def test_a_family_without_a_usable_generator_is_told_what_to_do(models, library):
    settings = models.family.settings | {"library": library}
    with pytest.raises(ExportError, match="library"):
        generated_entries(dataclasses.replace(models.family, settings=settings))
