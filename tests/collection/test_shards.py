"""webdataset shards: samples are found, and damage stays where it is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragturbo_runtime.collection import sample
from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture
from ragturbo_runtime.collection.sample import split_name
from ragturbo_runtime.collection.shards import shard_entries
from tests.collection.made import add, encoded, png, samples, shard

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
GREY = Image.new("L", (48, 32), 90)


def entries(found: Sequence[Entry | SkippedPicture]) -> list[Entry]:
    assert all(isinstance(one, Entry) for one in found), found
    return [one for one in found if isinstance(one, Entry)]


def one_skipped(path: Path) -> SkippedPicture:
    (found,) = shard_entries([path])
    assert isinstance(found, SkippedPicture)
    return found


def test_captions_of_both_kinds(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "00000.tar",
        {
            "a.png": RED,
            "a.txt": "\ufeff a red thing\n",
            "b.JPG": encoded(GREY, "JPEG"),
            "b.json": {"caption": "a blue thing", "license": "CC0", "source": "mine", "id": 12, "width": 48},
            "c.json": {"text": "from the list", "licence": "MIT"},
            "c.webp": encoded(GREY, "WEBP"),
            "c.txt": "from the text",
        },
    )
    found = entries(list(shard_entries([path])))
    assert [(one.id, one.caption, one.source, one.licence) for one in found] == [
        ("00000/a", "a red thing", "", "unknown"),
        ("12", "a blue thing", "mine", "CC0"),
        ("00000/c", "from the text", "", "MIT"),
    ]
    assert (found[0].read(4) == [255, 0, 0]).all()
    assert found[2].read(9).shape == (9, 9, 3)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("0001.jpg", ("0001", "jpg")),
        ("./cats/0001.JPG", ("cats/0001", "jpg")),
        ("v1.0/0001.seg.png", ("v1.0/0001", "seg.png")),
        ("cats/.hidden.png", ("", "")),
        ("._0001.jpg", ("", "")),
        ("README", ("", "")),
        ("a.", ("a", "")),
        ("", ("", "")),
    ],
)
def test_names_are_split_at_the_first_dot_after_the_folder(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_files_of_a_sample_need_not_stand_together(tmp_path: Path) -> None:
    files = {
        "a/1.png": RED,
        "b/1.png": BLUE,
        "b/1.txt": "blue",
        "README": "",
        "a/1.txt": "red",
        "a/1.seg.png": BLUE,
    }
    path = shard(tmp_path / "s.tar", files)
    red, blue = entries(list(shard_entries([path])))
    assert (red.id, red.caption, blue.id, blue.caption) == ("s/a/1", "red", "s/b/1", "blue")
    assert (red.read(2) == [255, 0, 0]).all()
    assert (blue.read(2) == [0, 0, 255]).all()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.png": RED}, "needs a caption"),
        ({"a.png": RED, "a.txt": " \n"}, "needs a caption"),
        ({"a.png": RED, "a.json": {"label": 3}}, "needs a caption"),
        ({"a.txt": "red", "a.cls": "3"}, "needs one picture, has no picture among .cls, .txt"),
        ({"a.mp4": "film"}, "has no picture among .mp4"),
        ({"a.\x1b[31m": "x"}, "has no picture among .\\x1b[31m"),
        ({"a.png": RED, "a.jpg": RED, "a.txt": "red"}, "has several pictures among .jpg, .png, .txt"),
        ({"a.png": RED, "a.txt": b"\xff\xfe"}, "its .txt: 'utf-8' codec"),
        ({"a.png": RED, "a.txt": "red", "a.json": "{oops"}, "its .json: not JSON"),
        ({"a.png": RED, "a.txt": "red", "a.json": "[" * 100_000}, "nested too deeply"),
        ({"a.png": RED, "a.txt": "red", "a.json": "[]"}, "its .json: expected a JSON object, found list"),
        ({"a.png": RED, "a.txt": "red", "a.json": b"\xff"}, "its .json: 'utf-8' codec"),
        ({"a.png": RED, "a.json": {"text": ["red"]}}, "text is of type list"),
        ({"../a.png": RED, "../a.txt": "red"}, "leads out of the archive: '../a.png'"),
        ({"/abs/a.png": RED, "/abs/a.txt": "red"}, "leads out of the archive"),
        ({"x/../../a.png": RED, "x/../../a.txt": "red"}, "leads out of the archive"),
    ],
)
def test_a_sample_that_cannot_be_used(tmp_path: Path, files: dict[str, bytes | str], reason: str) -> None:
    path = shard(tmp_path / "s.tar", files | samples(["z"]))
    skipped, kept = shard_entries([path])
    assert isinstance(kept, Entry)
    assert isinstance(skipped, SkippedPicture)
    assert skipped.name.startswith(f"{path}: ")
    assert reason in skipped.reason


def test_ids_that_came_before(tmp_path: Path) -> None:
    """In the shard, and in another one."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for caption in ("first", "second"):
            add(archive, "1.png", RED)
            add(archive, "1.txt", caption)
    shard(
        tmp_path / "b.tar",
        {"1.png": BLUE, "1.json": {"text": "blue", "id": "a/1"}, "2.png": RED, "2.txt": "x"},
    )
    first, second, third, fourth = shard_entries([tmp_path / "a.tar", tmp_path / "b.tar"])
    assert isinstance(first, Entry)
    assert (first.id, first.caption) == ("a/1", "first")
    assert isinstance(second, SkippedPicture)
    assert isinstance(third, SkippedPicture)
    assert second.reason == third.reason
    assert second.reason.startswith(f"has the id 'a/1', as {tmp_path / 'a.tar'}: 1 has")
    assert isinstance(fourth, Entry)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_only_regular_files_count(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        folder = tarfile.TarInfo("a.png.d")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        add(archive, "z.png", RED)
        add(archive, "z.txt", "red")
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = kind, "z.png"
        archive.addfile(link)
        add(archive, "a.txt", "not red")
    kept, skipped = shard_entries([tmp_path / "s.tar"])
    assert isinstance(kept, Entry)
    assert isinstance(skipped, SkippedPicture)
    assert skipped.reason == ".png is not a regular file"


def test_files_with_holes_are_not_read(tmp_path: Path) -> None:
    """Their bytes in the archive are not the file's."""
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(RED)
        info.pax_headers = {"GNU.sparse.map": f"0,{len(RED)}", "GNU.sparse.size": str(len(RED) + 512)}
        archive.addfile(info, io.BytesIO(RED))
        add(archive, "a.txt", "red")
    assert one_skipped(tmp_path / "s.tar").reason == ".png is not a regular file"


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sample.MAX_PICTURE_BYTES == 256 * 2**20
    monkeypatch.setattr(sample, "MAX_PICTURE_BYTES", len(RED) - 1)
    reason = one_skipped(shard(tmp_path / "s.tar", {"a.png": RED, "a.txt": "red"})).reason
    assert reason == f".png has {len(RED):,} bytes, at most {len(RED) - 1:,} are allowed"
    monkeypatch.undo()
    reason = one_skipped(shard(tmp_path / "t.tar", {"a.txt": "x" * (2**20 + 1), "a.png": RED})).reason
    assert reason == ".txt has 1,048,577 bytes, at most 1,048,576 are allowed"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_dialect(tmp_path: Path, form: int) -> None:
    name = f"{'folder' * 12}/{'größer' if form == tarfile.PAX_FORMAT else 'larger'}" + "x" * 60
    with tarfile.open(tmp_path / "s.tar", "w", format=form) as archive:
        add(archive, name + ".png", RED)
        add(archive, name + ".txt", "red")
    (found,) = entries(list(shard_entries([tmp_path / "s.tar"])))
    assert found.id == f"s/{name}"
    assert (found.read(2) == [255, 0, 0]).all()


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        add(archive, "größe.png", RED)
        add(archive, "größe.txt", "red")
    skipped = one_skipped(tmp_path / "s.tar")
    assert skipped.name.endswith(r"gr\udcf6\udcdfe")
    assert "id is not Unicode text" in skipped.reason


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", {"a.png": RED[:60], "a.txt": "red", "b.jpg": b"", "b.txt": "nothing"})
    cut, empty = entries(list(shard_entries([path])))
    with pytest.raises(PictureError, match=r"s\.tar: a: not a picture that can be read"):
        cut.read(8)
    with pytest.raises(PictureError, match=r"s\.tar: b: .*it is empty"):
        empty.read(8)
    path.unlink()
    with pytest.raises(
        PictureError, match=r"s\.tar: a: the shard cannot be read \(No such file.*\); put it back"
    ):
        cut.read(8)


def test_threads_read_one_shard(tmp_path: Path) -> None:
    colours = [(n * 10, 255 - n * 10, n) for n in range(20)]
    files: dict[str, bytes | str] = {}
    for number, colour in enumerate(colours):
        files |= {f"{number}.png": png(colour), f"{number}.txt": "x"}
    found = entries(list(shard_entries([shard(tmp_path / "s.tar", files)])))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for colour, pixels in zip(colours, pool.map(lambda entry: entry.read(2), found), strict=True):
                assert (pixels == colour).all()


def four(folder: Path) -> bytes:
    """Four samples of 2048 bytes each: two headers, a picture and a text of a block each."""
    return shard(folder / "s.tar", samples("abcd")).read_bytes()


def test_an_archive_cut_anywhere_keeps_what_is_before(tmp_path: Path) -> None:
    """At every tenth byte; what is kept can be read, and what is lost is said once."""
    whole = four(tmp_path)
    path = tmp_path / "cut.tar"
    for length in range(0, 4 * 2048 + 512, 10):
        path.write_bytes(whole[:length])
        found = list(shard_entries([path]))
        kept = [one for one in found if isinstance(one, Entry)]
        assert len(kept) >= (length // 2048), length
        assert isinstance(found[-1], SkippedPicture)
        assert found[-1].name == str(path)
        assert found[-1].reason.startswith("it, or the rest of it, cannot be read as a tar archive: "), length
        assert [one.caption for one in kept] == [f"a picture of {name}" for name in "abcd"[: len(kept)]]
        assert all((one.read(1) == [255, 0, 0]).all() for one in kept)


@pytest.mark.parametrize(
    ("at", "damage", "reason"),
    [
        (4096, b"\xff" * 512, "damaged header at byte 4,096"),
        (4096, b"", "it ends at byte 4,096 without an end mark: it was cut off"),
        (4096, bytes(512), "more follows after the end mark at byte 4,096"),
    ],
)
def test_a_damaged_tail_is_said(tmp_path: Path, at: int, damage: bytes, reason: str) -> None:
    whole = four(tmp_path)
    path = tmp_path / "damaged.tar"
    path.write_bytes(whole[:at] + damage + (whole[at + len(damage) :] if damage else b""))
    *kept, rest = shard_entries([path])
    assert [one.id for one in entries(kept)] == ["damaged/a", "damaged/b"]
    assert isinstance(rest, SkippedPicture)
    assert reason in rest.reason


def test_a_size_below_zero_does_not_go_round_and_round(tmp_path: Path) -> None:
    whole = bytearray(four(tmp_path))
    header = whole[4096:4608]
    header[124:136] = b"\xff" * 10 + b"\xf0\x00"  # base-256, -4096
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    whole[4096:4608] = header
    (tmp_path / "s.tar").write_bytes(whole)
    *kept, rest = shard_entries([tmp_path / "s.tar"])
    assert len(entries(kept)) == 2
    assert "cannot be read as a tar archive" in str(rest)


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b" + bytes(600), b"PK\3\4" + bytes(600)])
def test_what_is_no_archive_does_not_stop_the_others(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    shard(tmp_path / "b.tar", samples(["z"]))
    skipped, kept = shard_entries([tmp_path / "a.tar", tmp_path / "b.tar"])
    assert isinstance(skipped, SkippedPicture)
    assert skipped.reason.startswith("it, or the rest of it, cannot be read as a tar archive")
    assert isinstance(kept, Entry)


def test_an_empty_archive_and_a_missing_one(tmp_path: Path) -> None:
    assert list(shard_entries([shard(tmp_path / "s.tar", {})])) == []
    assert one_skipped(tmp_path / "none.tar").reason == "cannot be read (No such file or directory)"


@given(st.data())
def test_flipped_bytes_never_break_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    damaged = bytearray(four(folder))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, 9000))] = data.draw(st.integers(0, 255))
    (folder / "s.tar").write_bytes(damaged)
    for one in shard_entries([folder / "s.tar"]):
        if isinstance(one, Entry):
            try:
                one.read(2)
            except PictureError:
                pass
