"""A folder of pictures with a list: rows that cannot be used are said and left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture
from ragturbo_runtime.collection.folder import folder_entries
from tests.collection.made import png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    (made / "train").mkdir(parents=True)
    (made / "red.png").write_bytes(png((255, 0, 0)))
    (made / "train" / "blue.png").write_bytes(png((0, 0, 255)))
    (tmp_path / "outside.png").write_bytes(png())
    return made


def listed(folder: Path, table: str) -> list[Entry | SkippedPicture]:
    (folder / "metadata.csv").write_text(table)
    return list(folder_entries(folder))


def test_every_column(folder: Path) -> None:
    table = 'id,file_name,text,source,license\n7,red.png,"a red, plain thing",mine,CC0\n,train/blue.png, blue ,,\n'
    red, blue = listed(folder, table)
    assert isinstance(red, Entry)
    assert isinstance(blue, Entry)
    assert (red.id, red.caption, red.source, red.licence) == ("7", "a red, plain thing", "mine", "CC0")
    assert (blue.id, blue.caption, blue.source, blue.licence) == ("train/blue.png", "blue", "", "unknown")
    assert red.read(16).shape == (16, 16, 3)
    assert red.read(8).dtype == np.uint8
    assert (red.read(8) == [255, 0, 0]).all()
    assert (blue.read(8) == [0, 0, 255]).all()


def test_json_lines_with_the_other_names_of_columns(folder: Path) -> None:
    rows = [
        {"file_name": "red.png", "caption": "red", "license": "CC0", "source": None, "id": 3},
        {"file_name": "train/blue.png", "text": "", "caption": "blue", "licence": "MIT"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    found = [(one.id, one.caption, one.licence) for one in folder_entries(folder) if isinstance(one, Entry)]
    assert found == [("3", "red", "CC0"), ("train/blue.png", "blue", "MIT")]


@pytest.mark.parametrize(
    ("row", "name", "reason"),
    [
        ("red.png,", "red.png", "needs a caption"),
        ("red.png,   ", "red.png", "needs a caption"),
        (",red", "no file_name", "needs a file_name"),
        ("green.png,green", "green.png", "no such picture inside"),
        ("train,a folder", "train", "no such picture inside"),
        (f"{'x' * 300}.png,red", "x" * 300 + ".png", "no such picture inside"),
        ("a\0b.png,red", "a\\x00b.png", "no such picture inside"),
        ("\x1b[31mred.png,red", "\\x1b[31mred.png", "no such picture inside"),
        ("../outside.png,red", "../outside.png", "lies outside the folder"),
        ("train/../../outside.png,red", "train/../../outside.png", "lies outside the folder"),
        ("/etc/hostname,red", "/etc/hostname", "lies outside the folder"),
        ("../none.png,red", "../none.png", "lies outside the folder"),
    ],
)
def test_a_row_that_cannot_be_used(folder: Path, row: str, name: str, reason: str) -> None:
    skipped, blue = listed(folder, f"file_name,text\n{row}\ntrain/blue.png,blue\n")
    assert isinstance(blue, Entry)
    assert isinstance(skipped, SkippedPicture)
    assert skipped.name == f"{folder / 'metadata.csv'}:2: {name}"
    assert reason in skipped.reason
    assert str(skipped) == f"{skipped.name}: {skipped.reason}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "red"}, "needs a file_name"),
        ({"file_name": ["red.png"], "text": "red"}, "file_name is of type list, expected text"),
        ({"file_name": "red.png", "text": {"en": "red"}}, "text is of type dict, expected text"),
        ({"file_name": "red.png", "text": True}, "text is of type bool"),
        ({"file_name": "red.png", "text": "half \ud83d of it"}, "text is not Unicode text: 'half \\ud83d"),
        ({"file_name": "\ud83d.png", "text": "red"}, "file_name is not Unicode text"),
        ({"file_name": "red.png", "text": "red", "licence": ["CC0"]}, "licence is of type list"),
    ],
)
def test_a_value_that_is_no_text(folder: Path, row: dict[str, object], reason: str) -> None:
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    (skipped,) = folder_entries(folder)
    assert isinstance(skipped, SkippedPicture)
    assert reason in skipped.reason
    skipped.name.encode()
    skipped.reason.encode()


def test_an_id_that_came_before(folder: Path) -> None:
    """Whether it is given or taken from the file."""
    table = "file_name,text,id\nred.png,a,\nred.png,b,\ntrain/blue.png,c,red.png\ntrain/blue.png,d,\n"
    first, second, third, fourth = listed(folder, table)
    assert [isinstance(one, Entry) for one in (first, second, third, fourth)] == [True, False, False, True]
    assert "has the id 'red.png', as " in str(second)
    assert "metadata.csv:2 has; give each picture its own" in str(second)
    assert "metadata.csv:4: train/blue.png: has the id 'red.png'" in str(third)


def test_an_id_of_a_row_that_is_skipped_stays_free(folder: Path) -> None:
    skipped, taken = listed(folder, "file_name,text,id\nnone.png,a,1\nred.png,b,1\n")
    assert isinstance(skipped, SkippedPicture)
    assert isinstance(taken, Entry)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_may_lead_around_inside_the_folder_only(folder: Path, tmp_path: Path) -> None:
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "parent").symlink_to(tmp_path)
    (folder / "round.png").symlink_to("round.png")
    (folder / "in.png").symlink_to("train/blue.png")
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "alias").symlink_to(folder)
    names = ["out.png", "parent/outside.png", "parent/pictures/red.png", "round.png", "in.png", "pipe.png"]
    found = listed(tmp_path / "alias", "file_name,text\n" + "".join(f"{name},x\n" for name in names))
    reasons = ["outside the folder", "outside the folder", "", "no such picture", "", "no such picture"]
    for one, reason in zip(found, reasons, strict=True):
        assert isinstance(one, SkippedPicture if reason else Entry)
        assert reason in str(one)
    inside = found[4]
    assert isinstance(inside, Entry)
    assert (inside.read(4) == [0, 0, 255]).all()


def test_a_file_that_is_no_picture_is_said_when_it_is_read(folder: Path) -> None:
    (folder / "red.png").write_text("not a picture")
    (entry,) = listed(folder, "file_name,text\nred.png,red\n")
    assert isinstance(entry, Entry)
    with pytest.raises(
        PictureError, match=r"csv:2: red\.png: not a picture that can be read .*; make it smaller"
    ):
        entry.read(16)


def test_a_picture_that_went_away_meanwhile(folder: Path) -> None:
    (entry,) = listed(folder, "file_name,text\nred.png,red\n")
    assert isinstance(entry, Entry)
    (folder / "red.png").unlink()
    with pytest.raises(PictureError, match=r"red\.png: not a picture that can be read \(No such file"):
        entry.read(16)
