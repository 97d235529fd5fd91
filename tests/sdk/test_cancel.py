"""Drawings tell how far they are, and stop when they are told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ragturbo_sdk import (
    CancelToken,
    DrawProgress,
    GenerationCancelledError,
    Generator,
    GeneratorClosedError,
    InferenceError,
)

PROMPT = "a cat left of two pizzas on a blue background"


def test_each_stage_is_told_once_in_its_order(generator: Generator) -> None:
    told: list[DrawProgress] = []
    generator.generate(PROMPT, seed=1, num_inference_steps=2, progress=told.append)
    step = ["unet_encoder", "adapter", "unet_decoder"]
    assert [one.stage for one in told] == ["text_encoder", *step, *step, "vae_decoder"]
    assert [one.step for one in told] == [0, 1, 1, 1, 2, 2, 2, 2]
    assert [one.done for one in told] == list(range(1, 9))
    assert {one.total for one in told} == {8}


def test_without_references_there_is_no_adapter_to_wait_for(generator: Generator) -> None:
    told: list[DrawProgress] = []
    generator.generate(PROMPT, seed=1, retrieval=False, progress=told.append)
    assert [(one.stage, one.done, one.total) for one in told] == [
        ("text_encoder", 1, 4),
        ("unet_encoder", 2, 4),
        ("unet_decoder", 3, 4),
        ("vae_decoder", 4, 4),
    ]


def test_references_that_weigh_nothing_leap_over_the_adapter(generator: Generator) -> None:
    told: list[DrawProgress] = []
    generator.generate(PROMPT, seed=1, strength=0, progress=told.append)
    assert [one.done for one in told] == [1, 2, 4, 5]


def test_what_progress_raises_ends_the_drawing(generator: Generator) -> None:
    def stop(progress: DrawProgress) -> None:
        if progress.stage == "unet_encoder":
            raise ZeroDivisionError

    for cancel in (None, CancelToken()):
        with pytest.raises(ZeroDivisionError):
            generator.generate(PROMPT, seed=1, progress=stop, cancel=cancel)
    assert generator.generate(PROMPT, seed=1).seed == 1


@pytest.mark.parametrize("stage", ["text_encoder", "unet_encoder", "adapter", "unet_decoder"])
def test_a_drawing_is_cancelled_between_its_stages(generator: Generator, stage: str) -> None:
    token, told = CancelToken(), []

    def cancel(progress: DrawProgress) -> None:
        told.append(progress.stage)
        if progress.stage == stage:
            token.cancel()

    with pytest.raises(GenerationCancelledError, match="cancelled"):
        generator.generate(PROMPT, seed=1, progress=cancel, cancel=token)
    time.sleep(0.2)  # what was begun ends at the next operator
    assert told[-1] == stage


def test_a_token_that_was_cancelled_draws_nothing(generator: Generator) -> None:
    token, told = CancelToken(), []
    token.cancel()
    token.cancel()
    assert token.cancelled
    with pytest.raises(GenerationCancelledError):
        generator.generate(PROMPT, cancel=token, progress=told.append)
    assert told == []


def test_with_a_token_that_nobody_cancels_the_picture_is_the_same(generator: Generator) -> None:
    plain = generator.generate(PROMPT, seed=3)
    token = CancelToken()
    for _ in range(2):
        assert generator.generate(PROMPT, seed=3, cancel=token).image.tobytes() == plain.image.tobytes()


def test_one_token_cancels_many_calls_and_only_those(generator: Generator) -> None:
    token = CancelToken()
    begun = threading.Semaphore(0)

    def draw(with_token: bool) -> str:
        try:
            cancel = token if with_token else None
            generator.generate(
                PROMPT,
                seed=0,
                num_images=64,
                num_inference_steps=4,
                cancel=cancel,
                progress=lambda _: begun.release(),
            )
        except GenerationCancelledError:
            return "cancelled"
        return "drawn"

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(draw, place < 3) for place in range(4)]
        begun.acquire()
        token.cancel()
        assert [call.result(60) for call in calls] == ["cancelled"] * 3 + ["drawn"]


@pytest.mark.quiet
def test_a_running_graph_is_ended_between_two_operators(generator: Generator) -> None:
    """A batch of 64 takes long enough: the call returns at once, and the graph stops soon after."""
    token, progress = CancelToken(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            generator.generate,
            PROMPT,
            seed=0,
            num_images=64,
            num_inference_steps=4,
            cancel=token,
            progress=lambda _: progress.set(),
        )
        assert progress.wait(60)
        start = time.perf_counter()
        token.cancel()
        with pytest.raises(GenerationCancelledError):
            call.result(60)
        assert time.perf_counter() - start < 0.1


@pytest.fixture
def own(generator: Generator) -> Iterator[Generator]:
    with generator.clone() as clone:
        yield clone


def test_a_callback_may_not_wait_for_its_own_drawing(own: Generator) -> None:
    for call in (own.close, lambda: own.generate(PROMPT), own.warmup):
        with pytest.raises(GeneratorClosedError, match="wait for itself"):
            own.generate(PROMPT, seed=1, progress=lambda _, call=call: call())  # type: ignore[misc]
    assert own.generate(PROMPT, seed=1).seed == 1


def test_a_stop_that_nobody_asked_for_is_a_failure(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime says of a terminated run is an InferenceError, unless the token was cancelled."""
    token = CancelToken()
    stopping = token.stopping

    def terminated(options: object) -> object:
        options.terminate = True  # type: ignore[attr-defined]
        return stopping(options)  # type: ignore[arg-type]

    monkeypatch.setattr(token, "stopping", terminated)
    with pytest.raises(InferenceError, match="terminate"):
        generator.generate(PROMPT, cancel=token)
