"""The page itself: what stands where, and what happens when something is pressed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ragturbo_sdk.checks import MAX_STRENGTH
from ragturbo_sdk.cli import demo
from ragturbo_sdk.errors import RagTurboError
from ragturbo_sdk.playground.cards import escape, pictures, references, times
from ragturbo_sdk.playground.header import header, library_note
from ragturbo_sdk.playground.session import Session

_LONGEST = 400
"""Letters of a warning: it lies over the pictures for a while."""


def build_page(session: Session) -> Any:  # noqa: ANN401 - gradio's Blocks, a name that hosts without the extra lack
    """Lay out the page.

    Args:
        session: What it draws with; open for as long as the page is served.

    Returns:
        The page, not yet served.
    """
    import gradio

    page = gradio.Blocks(title="ragturbo playground", analytics_enabled=False)
    with page:
        top = gradio.HTML(lambda: header(session))  # called whenever the page is opened
        with gradio.Row():
            with gradio.Column(scale=2, min_width=320):
                inputs = _controls(session)
                button = gradio.Button("Draw", variant="primary", elem_id="rt-draw")
                adding = _adding(session)
            with gradio.Column(scale=5, min_width=480):
                outputs = _results(session)
        _connect_drawing(session, button, inputs, outputs)
        _connect_adding(session, *adding, top)
    return page


def _controls(session: Session) -> list[Any]:
    """Prompt, seed, strength and references, in the order that drawing takes them."""
    import gradio

    info = session.generator.info
    return [
        gradio.Textbox(demo.PROMPT, label="Prompt", max_lines=4, elem_id="rt-prompt", autofocus=True),
        gradio.Number(
            demo.SEED,
            label="Seed",
            precision=0,
            info="decides the noise; leave it empty for another each time",
            elem_id="rt-seed",
        ),
        gradio.Slider(
            0,
            MAX_STRENGTH,
            1.0,
            step=0.05,
            label="Strength",
            info="how strongly references act",
            elem_id="rt-strength",
        ),
        gradio.Slider(
            0, info.max_references, info.default_references, step=1, label="References", elem_id="rt-count"
        ),
    ]


def _adding(session: Session) -> tuple[Any, Any, Any]:
    """Picture, caption and button for a picture of the person's own."""
    import gradio

    with gradio.Accordion("Add your own picture", elem_id="rt-adding"):
        # Not gradio's picture field: that one decodes the file itself, and fails with a traceback of its own.
        picture = gradio.File(
            type="binary", file_types=["image"], label="Picture", height=120, elem_id="rt-file"
        )
        caption = gradio.Textbox(
            label="Caption", placeholder="for example: my red mug", elem_id="rt-own-caption"
        )
        button = gradio.Button("Add to the library", elem_id="rt-add")
        gradio.HTML(library_note(session), elem_id="rt-library")
    return picture, caption, button


def _results(session: Session) -> list[Any]:
    """Pictures, references and times, in the order that drawing returns them."""
    import gradio

    return [
        gradio.HTML(pictures(None), elem_id="rt-pictures"),
        gradio.HTML(references(None, len(session.generator.library)), elem_id="rt-references"),
        gradio.HTML(times(None), elem_id="rt-times"),
    ]


def _connect_drawing(session: Session, button: Any, inputs: list[Any], outputs: list[Any]) -> None:  # noqa: ANN401
    import gradio

    def draw(prompt: str, seed: float | None, strength: float, count: float) -> tuple[str, str, str]:
        with _told():
            drawn = session.draw(
                prompt, seed=None if seed is None else int(seed), strength=strength, references=int(count)
            )
        for warning in drawn.warnings:
            gradio.Warning(escape(textwrap.shorten(warning, _LONGEST, placeholder=" …")))
        return pictures(drawn), references(drawn, len(session.generator.library)), times(drawn)

    triggers = [button.click, inputs[0].submit]
    gradio.on(
        triggers,
        draw,
        inputs,
        outputs,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=outputs[0],
    )


def _connect_adding(session: Session, picture: Any, caption: Any, button: Any, top: Any) -> None:  # noqa: ANN401
    import gradio

    def add(file: bytes | None, text: str) -> tuple[None, str, str]:
        with _told():
            session.add(file, text)
        gradio.Info(f"Prompts can now find “{escape(text.strip())}”.")
        return None, "", header(session)

    button.click(
        add, [picture, caption], [picture, caption, top], api_visibility="private", show_progress="hidden"
    )


@contextmanager
def _told() -> Iterator[None]:
    """Show an error of ours as a message on the page; what is none of ours stays a fault, and is logged."""
    import gradio

    try:
        yield
    except RagTurboError as error:
        text = escape(error.message) + (f"<br>{escape(error.hint)}" if error.hint else "")
        raise gradio.Error(text, print_exception=False) from error
