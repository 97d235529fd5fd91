"""Saved pictures say how they were made, and are never half-written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from ragturbo_sdk import Generator, InvalidInputError, OutputError, read_metadata
from ragturbo_sdk._version import __version__

PROMPT = 'a "cat" – 猫 🐈 & two pizzas'


def test_what_was_saved_can_be_read_back(generator: Generator, tmp_path: Path) -> None:
    result = generator.generate(PROMPT, seed=7, references=2, strength=0.5)
    (path,) = result.save(tmp_path / "cat.png")
    assert path == tmp_path / "cat.png"
    metadata = read_metadata(path)
    assert metadata == result.metadata()
    assert (metadata["prompt"], metadata["seed"], metadata["strength"]) == (PROMPT, 7, 0.5)
    assert [r["caption"] for r in metadata["references"]] == [r.caption for r in result.references]
    assert metadata["bundle"] == {"name": generator.info.name, "version": generator.info.bundle_version}
    assert metadata["version"] == __version__
    with Image.open(path) as image:
        assert image.convert("RGB").tobytes() == result.image.tobytes()
        assert image.info["parameters"].startswith(f"{PROMPT}\nSteps: 1, Seed: 7, Size: ")


def test_metadata_is_enough_to_draw_the_picture_again(generator: Generator, tmp_path: Path) -> None:
    first = generator.generate(PROMPT, references=3)
    metadata = read_metadata(first.save(tmp_path / "first.png")[0])
    again = generator.generate(
        metadata["prompt"],
        seed=metadata["seed"],
        references=len(metadata["references"]),
        strength=metadata["strength"],
        num_inference_steps=metadata["num_inference_steps"],
    )
    assert again.image.tobytes() == first.image.tobytes()


def test_several_pictures_are_numbered(generator: Generator, tmp_path: Path) -> None:
    result = generator.generate(["a cat", "a dog"], seed=3, num_images=2)
    paths = result.save(str(tmp_path / "pets.png"))
    assert [path.name for path in paths] == [f"pets-{number}.png" for number in (1, 2, 3, 4)]
    assert [read_metadata(path)["prompt"] for path in paths] == ["a cat", "a cat", "a dog", "a dog"]
    assert [read_metadata(path)["seed"] for path in paths] == [3, 4, 5, 6]


def test_an_old_file_is_replaced_and_nothing_else_stays(generator: Generator, tmp_path: Path) -> None:
    target = tmp_path / "cat.png"
    target.write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(target)
    generator.generate("a cat", seed=1).save(tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert read_metadata(target)["prompt"] == "a cat"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "link.png"]


def test_a_file_gets_the_rights_that_any_new_file_gets(generator: Generator, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (path,) = generator.generate("a cat", seed=1).save(tmp_path / "cat.png")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cat.jpg", "written as PNG"),
        ("cat", "written as PNG"),
        ("missing/cat.png", "no folder"),
        ("file/cat.png", "no folder"),
        ("folder.png", "not a plain file"),
        ("pipe.png", "not a plain file"),
        (f"{'x' * 300}.png", "cannot be written"),
        ("a\0b.png", "cannot be written"),
    ],
)
def test_a_path_that_cannot_be_written(generator: Generator, tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=why) as caught:
        generator.generate("a cat", seed=1).save(f"{tmp_path}/{name}")
    assert caught.value.hint
    assert isinstance(caught.value, OSError)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_fails_leaves_the_old_file(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = generator.generate("a cat", seed=1)
    result.save(tmp_path / "cat.png")
    before = (tmp_path / "cat.png").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        generator.generate("a dog", seed=2).save(tmp_path / "cat.png")
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]
    assert (tmp_path / "cat.png").read_bytes() == before


def test_files_that_do_not_say(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "silent.png")
    (tmp_path / "text.png").write_text("no picture")
    expected = {"silent.png": "does not say", "text.png": "cannot be read", "none.png": "cannot be read"}
    for name, why in expected.items():
        with pytest.raises(InvalidInputError, match=why) as caught:
            read_metadata(tmp_path / name)
        assert caught.value.argument == "path"
