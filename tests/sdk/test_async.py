"""Drawing from an event loop, and one picture after the other."""

from __future__ import annotations

import asyncio
import time

import pytest

from ragturbo_sdk import (
    CancelToken,
    DrawProgress,
    GenerationCancelledError,
    Generator,
    InvalidInputError,
    PromptTruncatedWarning,
)

PROMPT = "a cat left of two pizzas on a blue background"


def test_tasks_draw_what_calls_draw(generator: Generator) -> None:
    async def draw() -> list[bytes]:
        results = await asyncio.gather(*(generator.agenerate(PROMPT, seed=seed) for seed in range(12)))
        return [result.image.tobytes() for result in results]

    assert asyncio.run(draw()) == [
        generator.generate(PROMPT, seed=seed).image.tobytes() for seed in range(12)
    ]


@pytest.mark.quiet
def test_the_event_loop_goes_on_meanwhile(generator: Generator) -> None:
    async def draw() -> float:
        drawing = asyncio.create_task(
            generator.agenerate(PROMPT, seed=0, num_images=64, num_inference_steps=4)
        )
        longest, last = 0.0, time.perf_counter()
        while not drawing.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        assert len((await drawing).images) == 64
        return longest

    start = time.perf_counter()
    longest = asyncio.run(draw())
    assert longest < (time.perf_counter() - start) / 2


def test_a_cancelled_task_ends_its_drawing(generator: Generator) -> None:
    told: list[DrawProgress] = []

    async def draw() -> None:
        task = asyncio.create_task(
            generator.agenerate(PROMPT, seed=0, num_images=64, num_inference_steps=4, progress=told.append)
        )
        while not told:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(draw())
    generator.generate(PROMPT, seed=1)  # its turn comes when the other has ended
    assert len(told) < told[0].total


def test_a_token_ends_a_task(generator: Generator) -> None:
    async def draw() -> None:
        token = CancelToken()
        drawing = generator.agenerate(
            PROMPT,
            seed=0,
            num_images=64,
            num_inference_steps=4,
            cancel=token,
            progress=lambda _: token.cancel(),
        )
        with pytest.raises(GenerationCancelledError):
            await drawing
        with pytest.raises(GenerationCancelledError):
            await generator.agenerate(PROMPT, cancel=token)

    asyncio.run(draw())


def test_errors_and_warnings_reach_the_task(generator: Generator) -> None:
    async def draw() -> None:
        with pytest.raises(InvalidInputError, match="cancel is 'now'"):
            await generator.agenerate(PROMPT, cancel="now")  # type: ignore[arg-type]
        with pytest.warns(PromptTruncatedWarning, match="were cut"):
            await generator.agenerate("word " * 100, seed=1)

    asyncio.run(draw())


def test_pictures_come_as_they_are_finished_and_are_those_of_one_call(generator: Generator) -> None:
    prompts = (PROMPT, "a red apple")
    together = generator.generate(prompts, seed=5, num_images=2)
    results = list(generator.stream(prompts, seed=5, num_images=2))
    assert [(result.prompt, result.seed) for result in results] == list(
        zip(together.prompts, together.seeds, strict=True)
    )
    for result, image in zip(results, together.images, strict=True):
        assert result.images == (result.image,)
        assert result.image.tobytes() == image.tobytes()


def test_leaving_the_loop_ends_the_work_and_arguments_are_checked_at_once(generator: Generator) -> None:
    told: list[DrawProgress] = []
    for result in generator.stream([PROMPT] * 5, seed=1, progress=told.append):
        assert result.seed == 1
        break
    assert len(told) == told[0].total
    with pytest.raises(InvalidInputError, match="num_images"):
        generator.stream(PROMPT, num_images=0)
    token = CancelToken()
    stream = generator.stream([PROMPT] * 3, seed=1, cancel=token)
    next(stream)
    token.cancel()
    with pytest.raises(GenerationCancelledError):
        next(stream)
