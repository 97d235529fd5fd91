"""ragturbo library: what each verb prints, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ragturbo_sdk.cli.library_arguments import VERBS
from ragturbo_sdk.cli.main import main
from ragturbo_sdk.cli.progress_line import ProgressLine
from tests.library.folders import caption, imagefolder, picture

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def own(nano_bundle: Path, tmp_path: Path, capsys: Captured) -> Path:
    """A library of 40 pictures."""
    folder = imagefolder(tmp_path / "pictures", range(40))
    (folder / "0003.png").write_bytes(b"no picture")
    words = [str(folder), "--out", str(tmp_path / "library"), "--bundle", str(nano_bundle)]
    assert main(["library", "build", *words, "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{tmp_path / 'library'}: 39 added, 0 known before, 1 skipped" in out
    assert "0003.png" in out
    return tmp_path / "library"


def answer(capsys: Captured, *words: object, status: int = 0) -> dict[str, object]:
    assert main(["library", *map(str, words), "--json"]) == status
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, object] = json.loads(out)
    return document


def refused(capsys: Captured, *words: object) -> str:
    assert main(["library", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ragturbo: error: ")
    assert "\nhint: " in err
    return err


def test_a_picture_is_added_found_and_removed(
    own: Path, nano_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    picture(77).save(tmp_path / "mug.jpg", quality=95)
    words = ["--library", own, "--bundle", nano_bundle]
    texts = ["--caption", "my red mug", "--source", "my desk", "--licence", "mine"]
    assert answer(capsys, "add", tmp_path / "mug.jpg", *words, *texts)["added"] == 1
    found = answer(capsys, "search", "my red mug", *words, "-n", "1")["references"]
    assert isinstance(found, list)
    assert (found[0]["id"], found[0]["source"], found[0]["licence"]) == ("mug.jpg", "my desk", "mine")
    assert main(["library", "search", "my red mug", *map(str, words)]) == 0
    assert "mug.jpg  my red mug (my desk, mine)" in capsys.readouterr().out
    assert answer(capsys, "remove", "mug.jpg", *words) == {"removed": 1}
    assert answer(capsys, "info", *words)["removed"] == 1
    assert answer(capsys, "compact", *words) == {"size": 39, "index": None}
    assert answer(capsys, "info", *words)["removed"] == 0
    assert answer(capsys, "verify", *words) == {"problems": []}


def test_a_folder_is_added(own: Path, nano_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    more = imagefolder(tmp_path / "more", range(30, 50))
    report = answer(capsys, "add", more, "--library", own, "--bundle", nano_bundle)
    assert (report["added"], report["known"]) == (10, 10)


def test_a_picture_is_drawn_with_an_own_library(
    own: Path, nano_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    words = ["-o", str(tmp_path / "drawn.png"), "--bundle", str(nano_bundle), "--library", str(own), "--json"]
    assert main([caption(9), *words]) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert "0009.png" in {used["id"] for used in drawn["pictures"][0]["references"]}


def test_verify_ends_with_1_where_something_is_wrong(own: Path, capsys: Captured) -> None:
    (features,) = own.glob("features-*")
    data = bytearray(features.read_bytes())
    data[5] ^= 255
    features.write_bytes(data)
    (problem,) = answer(capsys, "verify", "--library", own, status=1)["problems"]  # type: ignore[misc]
    assert problem["id"] == "0000.png"
    assert main(["library", "verify", "--library", str(own)]) == 1
    assert problem["cure"] in capsys.readouterr().out


def test_the_bundle_s_library_is_described_and_copied(
    nano_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    info = answer(capsys, "info", "--bundle", nano_bundle)
    assert (info["size"], info["writable"]) == (32, False)
    assert answer(capsys, "copy", "--out", tmp_path / "copy", "--bundle", nano_bundle)
    assert answer(capsys, "info", "--library", tmp_path / "copy")["writable"] is True
    assert "is there already" in refused(capsys, "copy", "--out", tmp_path / "copy", "--bundle", nano_bundle)


def test_what_is_wrong_is_said(own: Path, nano_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    bundle = ["--bundle", nano_bundle]
    assert "absent: is not there" in refused(
        capsys, "build", tmp_path / "absent", "--out", tmp_path / "x", *bundle
    )
    assert not (tmp_path / "x").exists()
    file = tmp_path / "pictures" / "0001.png"
    assert "nothing says what it shows" in refused(capsys, "add", file, "--library", own, *bundle)
    bad = tmp_path / "pictures" / "0003.png"
    assert "not a picture" in refused(capsys, "add", bad, "--library", own, "--caption", "x", *bundle)
    absent = refused(capsys, "add", tmp_path / "mug.jpg", "--library", own, "--caption", "x", *bundle)
    assert "mug.jpg: not a picture that can be read (No such file or directory)" in absent
    words = ["add", tmp_path / "pictures", "--library", own, "--caption", "x", *bundle]
    assert "--caption is for a single picture" in refused(capsys, *words)
    assert "not in the library: 'x'" in refused(capsys, "remove", "x", "--library", own)
    assert "no such folder" in refused(capsys, "remove", "x", "--library", tmp_path / "absent")
    assert "VERB" in refused(capsys)
    assert "invalid choice: 'grow'" in refused(capsys, "grow")


def test_every_verb_has_help_with_its_options(capsys: Captured) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit) as left:
            main(["library", verb, "--help"])
        assert left.value.code == 0
        assert "--json" in capsys.readouterr().out


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_says_how_long_it_still_takes() -> None:
    terminal = Terminal()
    with ProgressLine("pictures", terminal) as line:
        line.show(100, 1000)
        line._start -= 10  # ten seconds have passed
        line._shown = 0.0
        line.show(300, 1000)
    shown = terminal.getvalue().split("\r")
    assert shown[1].startswith("100 of 1000 pictures")
    assert "a second" not in shown[1]
    assert shown[2].startswith("300 of 1000 pictures, 20 a second, 0:35 left")
    assert shown[-1] == "\x1b[K"


def test_progress_is_silent_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with ProgressLine("pictures", stream) as line:
        line.show(1, 2)
    assert stream.getvalue() == ""
