"""generator.library: what a host does with pictures of its own."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ragturbo_sdk import (
    GenerationResult,
    Generator,
    InvalidInputError,
    Library,
    LibraryLockedError,
    OutputError,
    RetrievalError,
)
from tests.library.folders import caption, imagefolder, picture
from tests.nano.build_nano_bundle import reference_captions


@pytest.fixture
def own(nano_bundle: Path, tmp_path: Path) -> Iterator[Generator]:
    """A generator with a copy of the bundle's library, to change."""
    with Generator(nano_bundle, device="cpu", threads=1) as generator:
        folder = generator.library.copy(tmp_path / "library")
    with Generator(nano_bundle, library=folder, device="cpu", threads=1) as generator:
        yield generator


def drawn(generator: Generator, prompt: str) -> GenerationResult:
    return generator.generate(prompt, seed=1, references=1)


def test_a_picture_that_was_added_is_used_by_the_next_prompt(own: Generator) -> None:
    library = own.library
    before = drawn(own, "a violet zebra")
    name = library.add(
        picture(1), "a violet zebra", id="zebra", source="https://example.org/z", licence="CC0-1.0"
    )
    after = drawn(own, "a violet zebra")
    assert name == "zebra"
    assert len(library) == 33
    (used,) = after.references
    assert (used.id, used.source, used.licence) == ("zebra", "https://example.org/z", "CC0-1.0")
    assert used.similarity == pytest.approx(1.0, abs=1e-3)
    assert used.thumbnail().size == (32, 32)
    assert before.references[0].id != "zebra"
    assert after.image.tobytes() != before.image.tobytes()
    assert library.remove("zebra") == 1
    assert drawn(own, "a violet zebra").image.tobytes() == before.image.tobytes()


def test_a_picture_may_be_an_image_a_file_or_bytes(own: Generator, tmp_path: Path) -> None:
    picture(2).save(tmp_path / "two.png")
    data = io.BytesIO()
    picture(2).save(data, "PNG")
    for number, image in enumerate(
        (picture(2), tmp_path / "two.png", str(tmp_path / "two.png"), data.getvalue())
    ):
        own.library.add(image, f"a violet zebra {number}", id=f"{number}")
    found = own.library.search("a violet zebra", count=36)
    pictures = {reference.id: reference.thumbnail_png for reference in found}
    assert len({pictures[f"{number}"] for number in range(4)}) == 1


def test_search_returns_the_nearest_first(own: Generator) -> None:
    found = own.library.search("a cat", count=5)
    assert len(found) == 5
    similarities = [reference.similarity for reference in found]
    assert similarities == sorted(similarities, reverse=True)
    assert len(own.library.search("a cat", count=1000)) == 32


def test_a_folder_is_added_once(own: Generator, tmp_path: Path) -> None:
    folder = imagefolder(tmp_path / "pictures", range(70))
    (folder / "0007.png").write_bytes(b"no picture")
    seen: list[tuple[int, int]] = []
    report = own.library.add_folder(folder, progress=lambda so_far: seen.append((so_far.done, so_far.total)))
    assert (report.added, report.known) == (69, 0)
    (skipped,) = report.skipped
    assert skipped.name == "0007.png"
    assert seen[-1] == (70, 70)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    again = own.library.add_folder(folder)
    assert (again.added, again.known, len(again.skipped)) == (0, 69, 1)
    assert own.library.search(caption(11), count=1)[0].id == "0011.png"
    assert len(own.library) == 32 + 69


def test_info_says_what_there_is(own: Generator) -> None:
    own.library.add(picture(3), "a violet zebra", id="zebra")
    own.library.remove(["zebra"])
    info = own.library.info
    assert (info.size, info.removed, info.indexed, info.recall) == (32, 1, 0, None)
    assert info.writable
    assert info.disk_bytes == sum(path.stat().st_size for path in own.library.path.iterdir())
    own.library.compact()
    assert own.library.info.removed == 0
    assert own.library.verify() == ()
    assert repr(own.library) == f"<Library {own.library.path}>"


def test_verify_names_what_is_wrong(own: Generator) -> None:
    (features,) = own.library.path.glob("features-*")
    data = bytearray(features.read_bytes())
    data[100] ^= 1
    features.write_bytes(data)
    (problem,) = own.library.verify()
    assert problem.id == "nano-00"
    assert problem.cure in str(problem)


def test_the_library_of_a_bundle_is_not_changed(generator: Generator, tmp_path: Path) -> None:
    library = generator.library
    assert not library.info.writable
    for change in (
        lambda: library.add(picture(0), "a cat"),
        lambda: library.remove("x"),
        library.compact,
        lambda: library.add_folder(imagefolder(tmp_path / "pictures", range(1))),
    ):
        with pytest.raises(RetrievalError, match=r"part of a bundle.*generator\.library\.copy"):
            change()


def test_a_copy_goes_where_nothing_is(generator: Generator, tmp_path: Path) -> None:
    copy = generator.library.copy(tmp_path / "deep" / "copy")
    assert copy == tmp_path / "deep" / "copy"
    with pytest.raises(OutputError, match="is there already; choose another folder"):
        generator.library.copy(copy)
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"no picture", "a cat", {}), "picture"),
        ((Path("absent.png"), "a cat", {}), r"absent\.png"),
        ((None, " ", {}), "prompt is ' '"),
        ((None, 7, {}), "prompt is 7"),
        ((None, "a cat", {"id": ""}), "id is ''"),
        ((None, "a cat", {"id": "zebra"}), "id 'zebra' is in the library already"),
        ((None, "a cat", {"source": 3}), "source is 3"),
        ((7, "a cat", {}), "image is int"),
    ],
)
def test_a_picture_that_cannot_be_added_is_refused(
    own: Generator, arguments: tuple[object, str, dict[str, str]], message: str
) -> None:
    own.library.add(picture(3), "a violet zebra", id="zebra")
    image, text, options = arguments
    with pytest.raises(InvalidInputError, match=message):
        own.library.add(picture(1) if image is None else image, text, **options)  # type: ignore[arg-type]
    assert len(own.library) == 33


def test_ids_that_are_not_there_are_refused(own: Generator) -> None:
    with pytest.raises(InvalidInputError, match=r"not in the library: 'x'; nothing was removed"):
        own.library.remove([own.library.search("a cat", count=1)[0].id, "x"])
    for ids in ([], 7, [7], b"x"):
        with pytest.raises(InvalidInputError, match="ids is"):
            own.library.remove(ids)  # type: ignore[arg-type]
    assert len(own.library) == 32


def test_another_process_is_told_to_wait(own: Generator) -> None:
    from ragturbo_runtime.library.writer import LibraryWriter

    with (
        LibraryWriter(own.library.path),
        pytest.raises(LibraryLockedError, match="is writing to this library"),
    ):
        own.library.add(picture(0), "a cat")


def test_a_bundle_without_library_says_so(
    nano_bundle_copy: Path, tmp_path: Path, generator: Generator
) -> None:
    import json

    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    manifest["library"] = None
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with Generator(nano_bundle_copy, device="cpu", threads=1) as without:
        with pytest.raises(RetrievalError, match=r"has no library; build one"):
            _ = without.library
        assert without.info.library_size == 0
    copy = generator.library.copy(tmp_path / "own")
    with Generator(nano_bundle_copy, library=copy, device="cpu", threads=1) as with_own:
        assert with_own.info.library_size == 32
        assert len(drawn(with_own, "a cat").references) == 1


@pytest.mark.parametrize("library", ["", 7, b"x"])
def test_a_library_is_a_folder(nano_bundle: Path, library: object) -> None:
    with pytest.raises(InvalidInputError, match="library is"):
        Generator(nano_bundle, library=library)  # type: ignore[arg-type]


def test_a_library_of_other_encoders_is_refused(
    nano_bundle_copy: Path, generator: Generator, tmp_path: Path
) -> None:
    import json

    copy = generator.library.copy(tmp_path / "own")
    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    manifest["h_space_id"] = "0" * 64
    manifest["library"] = None
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RetrievalError, match="h space"):
        Generator(nano_bundle_copy, library=copy)


def test_threads_draw_while_another_changes_the_library(own: Generator) -> None:
    """No error, no torn read: the same picture as long as the same references are found."""
    library = own.library
    prompt = reference_captions()[5]  # nothing is nearer than itself
    expected = drawn(own, prompt).image.tobytes()
    failed: list[BaseException] = []
    done = threading.Event()

    def draw() -> None:
        try:
            while not done.is_set():
                assert drawn(own, prompt).image.tobytes() == expected
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            library.add(picture(number), f"a violet zebra {number}", id=f"z{number}")
            if number % 3 == 2:
                library.remove([f"z{number}", f"z{number - 1}"])
            if number % 10 == 9:
                library.compact()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(library) == 32 + 10


def test_a_reference_that_is_removed_while_it_is_used_loses_its_picture(own: Generator) -> None:
    from ragturbo_sdk.reference import keep

    own.library.add(picture(0), "a violet zebra", id="zebra")
    (used,) = own._drawing.pipeline.nearest("a violet zebra", 1)
    own.library.remove("zebra")
    kept = keep(used)
    assert kept.thumbnail_png == b""
    with pytest.raises(RetrievalError, match="was removed from the library while it was used"):
        kept.thumbnail()


def test_a_closed_generator_s_library_says_so(nano_bundle: Path) -> None:
    with Generator(nano_bundle, device="cpu", threads=1) as generator:
        library = generator.library
    with pytest.raises(RetrievalError, match="the library was closed"):
        library.search("a cat")
    assert isinstance(library, Library)


def test_what_is_added_equals_what_the_exporter_stored(own: Generator) -> None:
    """The runtime's own encoder gives the features that came with the bundle, to half a step of int8."""
    reference = own.library.search("a cat", count=1)[0]
    opened = own._drawing.pipeline.library
    assert opened is not None
    own.library.add(reference.thumbnail(), reference.caption, id="again")
    rows = {found.id: found.row for found in own._drawing.pipeline.nearest(reference.caption, 2)}
    assert set(rows) == {reference.id, "again"}
    a, b = (opened.features([row])[0].astype(np.float32) for row in rows.values())
    assert np.abs(a - b).max() <= 24  # of 127: the thumbnail has 64 colours
    assert Image.open(io.BytesIO(reference.thumbnail_png)).size == (32, 32)
