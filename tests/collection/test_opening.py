"""What a path holds is found out, and what is wrong with it said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture, printable
from ragturbo_runtime.collection.opening import open_collection
from ragturbo_runtime.errors import InvalidInputError
from tests.collection.made import png, samples, shard


def test_a_folder_with_a_list(tmp_path: Path) -> None:
    """Which comes before shards."""
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "metadata.csv").write_text("file_name,text\nred.png,red\nnone.png,none\n")
    (tmp_path / "00000.tar").write_text("oops")
    found = open_collection(tmp_path)
    assert found.path == tmp_path
    assert len(found) == 2
    assert list(found) == [*found.entries, *found.skipped]
    assert isinstance(found.entries[0], Entry)
    assert isinstance(found.skipped[0], SkippedPicture)
    assert list(found) == list(found)


def test_a_folder_of_shards_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("00001.tar", "00000.tar", "00002.TAR"):
        shard(tmp_path / name, samples(["a", "b"]))
    (tmp_path / "._00000.tar").write_bytes(b"\0\5\x16\7")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.tar").mkdir()
    found = open_collection(tmp_path)
    assert [one.id for one in found.entries] == [f"0000{n}/{name}" for n in range(3) for name in "ab"]
    assert not found.skipped


def test_one_shard(tmp_path: Path) -> None:
    found = open_collection(shard(tmp_path / "s.tar", samples(["a"])))
    assert [one.id for one in found] == ["s/a"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "is not there, expected a folder with a metadata.csv or metadata.jsonl"),
        (lambda path: path.mkdir(), "no metadata.csv, no metadata.jsonl and no .tar in it, expected"),
        (lambda path: path.write_text("x"), "is another kind of file, expected"),
    ],
)
def test_what_is_no_collection(tmp_path: Path, make: object, said: str) -> None:
    path = tmp_path / "pictures.tar.gz"
    make(path)  # type: ignore[operator]
    with pytest.raises(InvalidInputError) as caught:
        open_collection(path)
    assert f"{path}: {said}" in str(caught.value)
    assert "or unpack a compressed archive to .tar" in str(caught.value)
    assert caught.value.argument == "collection"


def test_a_damaged_list_is_an_error_of_the_collection(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("{oops\n")
    with pytest.raises(InvalidInputError, match=r"metadata\.jsonl:1: not JSON") as caught:
        open_collection(tmp_path)
    assert not isinstance(caught.value, PictureError)


def test_a_path_that_the_system_refuses() -> None:
    with pytest.raises(
        InvalidInputError, match=r"x: cannot be read \(File name too long\); make it readable"
    ):
        open_collection(Path("x" * 300))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("größe 7.png", "größe 7.png"), ("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("\udcf6", r"\udcf6")],
)
def test_names_are_fit_to_be_printed(text: str, shown: str) -> None:
    assert printable(text) == shown
