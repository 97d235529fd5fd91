"""What stands behind the page: a prompt is drawn twice, and an added picture is used."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ragturbo_runtime.manifest import read_manifest
from ragturbo_runtime.manifest_json import write_manifest
from ragturbo_sdk import InvalidInputError, RetrievalError
from ragturbo_sdk.playground.session import SOURCE, Session, open_session
from tests.library.folders import picture

PROMPT = "a violet zebra"


def file_of(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def test_both_pictures_come_from_one_noise(session: Session) -> None:
    drawn = session.draw(PROMPT, seed=5, strength=1.5, references=3)
    plain = session.generator.generate(PROMPT, seed=5, retrieval=False)
    assert drawn.without.image.tobytes() == plain.image.tobytes()
    assert drawn.retrieved.image.tobytes() != plain.image.tobytes()
    assert (drawn.retrieved.seed, drawn.retrieved.strength, len(drawn.retrieved.references)) == (5, 1.5, 3)
    assert drawn.without.references == drawn.warnings == ()


def test_without_a_seed_both_have_the_same_by_chance(session: Session) -> None:
    one, two = (session.draw(PROMPT, seed=None, strength=1, references=1) for _ in range(2))
    assert one.without.seed == one.retrieved.seed != two.retrieved.seed


def test_an_added_picture_is_a_reference_of_the_next_drawing(session: Session) -> None:
    name = session.add(file_of(picture(1)), f" {PROMPT} ")
    (used,) = session.draw(PROMPT, seed=1, strength=1, references=1).retrieved.references
    assert (used.id, used.caption.strip(), used.source) == (name, PROMPT, SOURCE)


@pytest.mark.parametrize(
    ("data", "caption", "why"),
    [
        (None, "a zebra", "no picture was chosen"),
        (b"no picture", "a zebra", "not a picture"),
        (b"no picture", " \n", "the caption is empty"),
    ],
)
def test_what_cannot_be_added_is_refused(
    session: Session, data: bytes | None, caption: str, why: str
) -> None:
    with pytest.raises(InvalidInputError, match=why):
        session.add(data, caption)
    assert len(session.generator.library) == 32


def test_words_that_were_cut_are_told_once(session: Session) -> None:
    """Both drawings warn; in the tests a warning that got through would be an error."""
    prompt = " ".join(f"word{number}" for number in range(100))
    (told,) = session.draw(prompt, seed=1, strength=1, references=1).warnings
    assert told.endswith("'word99'")


def test_a_copy_is_changed_and_the_bundle_is_not(nano_bundle: Path, tmp_path: Path) -> None:
    with open_session(nano_bundle, library=None, copies=tmp_path, device="cpu", threads=1) as session:
        session.add(file_of(picture(1)), PROMPT)
        assert session.temporary
        assert session.generator.library.path == tmp_path / "library"
        assert len(session.generator.library) == 33
    with open_session(
        nano_bundle, library=tmp_path / "library", copies=tmp_path, device="cpu", threads=1
    ) as again:
        assert not again.temporary
        assert len(again.generator.library) == 33
    with open_session(nano_bundle, library=None, copies=tmp_path / "other", threads=1) as other:
        assert len(other.generator.library) == 32


def test_a_bundle_without_a_library_is_an_error_that_says_what_to_do(
    nano_bundle_copy: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(nano_bundle_copy)
    shutil.rmtree(nano_bundle_copy / "library")
    write_manifest(nano_bundle_copy, dataclasses.replace(manifest, library=None))
    with (
        pytest.raises(RetrievalError, match=r"has no library; build one .* --library"),
        open_session(nano_bundle_copy, library=None, copies=tmp_path / "copies"),
    ):
        pytest.fail("it was opened")
