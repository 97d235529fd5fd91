"""The page that gradio makes, without a browser: its fields and its messages, and what it is served with."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio
import pytest

from ragturbo_sdk import InvalidInputError
from ragturbo_sdk.playground.environment import quiet_environment
from ragturbo_sdk.playground.page import build_page
from ragturbo_sdk.playground.serving import free_port
from ragturbo_sdk.playground.session import Session
from tests.library.folders import picture
from tests.playground.test_session import file_of

Functions = dict[str, Callable[..., Any]]


@pytest.fixture
def page(session: Session) -> gradio.Blocks:
    """Made inside an event loop: outside of one gradio makes loops that it never closes."""

    async def make() -> gradio.Blocks:
        return build_page(session)

    return asyncio.run(make())


@pytest.fixture
def functions(page: gradio.Blocks) -> Functions:
    """What the page calls, by name."""
    return {str(function.name): function.fn for function in page.fns.values() if function.fn}


def test_the_sliders_end_where_the_model_does(session: Session, page: gradio.Blocks) -> None:
    sliders = {block.label: block for block in page.blocks.values() if isinstance(block, gradio.Slider)}
    assert (sliders["Strength"].minimum, sliders["Strength"].maximum) == (0, 2)
    info = session.generator.info
    assert (sliders["References"].maximum, sliders["References"].value) == (
        info.max_references,
        info.default_references,
    )


def test_draw_fills_pictures_references_and_times(functions: Functions) -> None:
    pictures, references, times = functions["draw"]("a red circle", 3, 1.0, 2)
    assert pictures.count("data:image/png") == 4  # each is shown, and can be saved
    assert "2 of 32" in references
    assert "unet encoder" in times
    assert "seed 3<" in pictures
    assert "seed 3<" not in functions["draw"]("a red circle", None, 1.0, 2)[0]


def test_an_added_picture_is_counted_and_found(
    functions: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    file, caption, top = functions["add"](file_of(picture(1)), "a <b>violet</b> zebra")
    assert (file, caption) == (None, "")
    assert "33 captioned pictures" in top
    told = capsys.readouterr().out  # outside of a page gradio prints what it would show
    assert "a &lt;b&gt;violet" in told
    assert "yours" in functions["draw"]("a <b>violet</b> zebra", 3, 1.0, 1)[1]


@pytest.mark.parametrize(
    ("name", "inputs", "why"),
    [
        ("draw", ("", 3, 1.0, 2), "prompt is"),
        ("draw", ("a cat", -1, 1.0, 2), "seed is -1"),
        ("draw", ("a cat", 1e300, 1.0, 2), "seed is 1"),
        ("add", (None, "a cat"), "no picture was chosen<br>choose a picture file"),
        ("add", (b"<b>", "a cat"), "&lt;b&gt;"),
    ],
)
def test_an_error_of_ours_is_a_message(
    functions: Functions, name: str, inputs: tuple[object, ...], why: str
) -> None:
    with pytest.raises(gradio.Error) as caught:
        functions[name](*inputs)
    assert why in caught.value.message
    assert not caught.value.print_exception


def test_cut_words_are_a_warning_that_leaves_the_pictures_to_be_seen(functions: Functions) -> None:
    with pytest.warns(UserWarning, match="these words were cut") as told:
        functions["draw"](" ".join(f"word{number}" for number in range(300)), 3, 1.0, 2)
    assert [len(str(one.message)) < 1000 for one in told] == [True]


@pytest.mark.parametrize("port", [-1, 65_536, True])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(InvalidInputError, match=r"port is .*, expected a whole number from 0 to 65535"):
        free_port(port)


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"port {taken} of .* cannot be used .*--port 0"):
            free_port(taken)
    assert free_port(taken) == taken


def test_the_environment_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("NO_PROXY", "example.org")
    before = dict(os.environ)
    with quiet_environment(tmp_path):
        assert "GRADIO_SHARE" not in os.environ
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"
    assert dict(os.environ) == before
