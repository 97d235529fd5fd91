"""Hundreds of calls with wrong arguments: an error of ours each time, and the generator is as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragturbo_sdk import Generator, OutputError, PromptTruncatedWarning, RagTurboError
from tests.faults.bad_calls import refused_calls, refused_openings, strange_calls

LONGEST = 400
"""Letters of a message that names no path."""


@pytest.fixture(scope="module")
def writable(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """A generator with a library of its own, which calls could change."""
    folder = tmp_path_factory.mktemp("calls") / "library"
    with Generator(small_bundle, device="cpu", threads=1) as generator:
        generator.library.copy(folder)
    with Generator(small_bundle, device="cpu", threads=1, library=folder) as generator:
        yield generator


def said(error: BaseException) -> str:
    """What is wrong with an error; nothing, if it is one of ours with a message and a way out."""
    if not isinstance(error, RagTurboError):
        return f"{type(error).__name__}: {error}"
    text = str(error)
    if not error.hint or "\n" in text or not text.isprintable():
        return f"no hint, or no plain line: {text[:200]!r}"
    return "" if len(text) <= LONGEST or "too long" in text or "xxxxx" in text else f"{len(text)} letters"


def test_no_wrong_call_ends_in_a_foreign_exception(writable: Generator) -> None:
    before = writable.generate("a cat", seed=3).image.tobytes(), len(writable.library)
    calls, found = list(refused_calls()), []
    assert len(calls) >= 300
    for name, call in calls:
        try:
            call(writable)
            found.append(f"{name}: accepted")
        except BaseException as error:  # what Rust throws is no Exception
            found += [f"{name}: {what}"] if (what := said(error)) else []
    assert not found, "\n".join(found)
    assert (writable.generate("a cat", seed=3).image.tobytes(), len(writable.library)) == before


def test_no_strange_text_ends_in_a_foreign_exception(writable: Generator) -> None:
    calls, found = list(strange_calls()), []
    assert len(calls) >= 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptTruncatedWarning)
        for name, call in calls:
            try:
                call(writable)
            except BaseException as error:
                found += [f"{name}: {what}"] if (what := said(error)) else []
    assert not found, "\n".join(found)


def test_no_wrong_argument_of_loading_ends_in_a_foreign_exception(small_bundle: Path) -> None:
    openings, found = list(refused_openings()), []
    assert len(openings) >= 100
    for name, arguments in openings:
        try:
            Generator(**{"bundle": small_bundle, "device": "cpu", **arguments}).close()
            found.append(f"{name}: accepted")
        except BaseException as error:
            found += [f"{name}: {what}"] if (what := said(error)) else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "path",
    ["", ".", "/", "a.jpg", "no/such/folder/a.png", "a\0.png", "\ud800.png", "x" * 300 + ".png", "/dev/null"],
)
def test_no_wrong_path_of_a_picture_does(writable: Generator, path: str) -> None:
    with pytest.raises(OutputError) as caught:
        writable.generate("a cat", seed=3).save(path)
    assert not said(caught.value)
