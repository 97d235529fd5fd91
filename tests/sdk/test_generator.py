"""Generator on the nano bundle: what the options do, and what they do not change."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ragturbo_sdk import Generator, GeneratorClosedError, LoadProgress, PromptTruncatedWarning

PROMPT = "a cat left of two pizzas on a blue background"


def pixels(image: Image.Image) -> NDArray[np.int16]:
    """The picture as numbers that can be subtracted."""
    return np.asarray(image, dtype=np.int16)


def differ(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two pictures, in 8-bit steps."""
    return int(np.abs(pixels(first) - pixels(second)).max())


def test_a_prompt_becomes_a_picture(generator: Generator) -> None:
    result = generator.generate(PROMPT, seed=7)
    assert result.image.mode == "RGB"
    assert result.image.size == (generator.info.width, generator.info.height)
    assert (result.prompt, result.seed, len(result.images)) == (PROMPT, 7, 1)
    assert len(result.references) == generator.info.default_references
    assert set(result.timings) >= {"text_encoder", "search", "features", "adapter", "total"}
    assert 0 < result.timings["vae_decoder"] < result.timings["total"]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(min_value=0, max_value=2**64 - 1))
def test_the_same_seed_draws_the_same_bytes(generator: Generator, seed: int) -> None:
    first, second = (generator.generate(PROMPT, seed=seed) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.seed == seed


def test_another_seed_draws_another_picture(generator: Generator) -> None:
    assert differ(generator.generate(PROMPT, seed=1).image, generator.generate(PROMPT, seed=2).image) > 0


def test_a_seed_by_chance_is_told_and_draws_the_picture_again(generator: Generator) -> None:
    by_chance = generator.generate(PROMPT)
    again = generator.generate(PROMPT, seed=by_chance.seed)
    assert again.image.tobytes() == by_chance.image.tobytes()
    assert generator.generate(PROMPT).seed != by_chance.seed


def test_numpy_integers_are_seeds(generator: Generator) -> None:
    result = generator.generate(PROMPT, seed=np.uint8(7), num_images=np.int64(1))
    assert type(result.seed) is int
    assert result.image.tobytes() == generator.generate(PROMPT, seed=7).image.tobytes()


def test_a_batch_draws_what_single_calls_draw(generator: Generator) -> None:
    prompts = (PROMPT, "a red apple")
    batch = generator.generate(prompts, seed=10, num_images=2)
    assert batch.prompts == (PROMPT, PROMPT, "a red apple", "a red apple")
    assert batch.seeds == (10, 11, 12, 13)
    for index, image in enumerate(batch.images):
        single = generator.generate(batch.prompts[index], seed=batch.seeds[index])
        assert differ(image, single.image) <= 1  # kernels may sum in another order at another batch size
        assert [r.id for r in single.references] == [r.id for r in batch.references_of[index]]


def test_the_most_pictures_of_one_call(generator: Generator) -> None:
    result = generator.generate(PROMPT, seed=0, num_images=64)
    assert len({image.tobytes() for image in result.images}) == 64


def test_references_are_described_and_outlive_the_generator(nano_bundle: Path) -> None:
    with Generator(nano_bundle, device="cpu", threads=1) as short_lived:
        result = pickle.loads(pickle.dumps(short_lived.generate(PROMPT, seed=7, references=3)))
    assert len({reference.id for reference in result.references}) == 3
    for reference in result.references:
        assert reference.caption
        assert reference.source
        assert reference.licence
        assert -1.0001 <= reference.similarity <= 1.0001
        assert 0 <= reference.weight <= 1
        assert reference.thumbnail().mode == "RGB"


def test_retrieval_changes_the_picture_and_can_be_left_out(generator: Generator) -> None:
    plain = generator.generate(PROMPT, seed=7, retrieval=False)
    assert plain.references == ()
    assert plain.timings["adapter"] == plain.timings["search"] == 0
    assert generator.generate(PROMPT, seed=7, references=0).image.tobytes() == plain.image.tobytes()
    assert generator.generate(PROMPT, seed=7, strength=0).image.tobytes() == plain.image.tobytes()
    assert differ(generator.generate(PROMPT, seed=7).image, plain.image) > 0


def test_strength_and_count_change_the_picture(generator: Generator) -> None:
    pictures = [
        generator.generate(PROMPT, seed=7, strength=strength, references=references).image.tobytes()
        for strength in (0.5, 1.0, 2.0)
        for references in (1, generator.info.max_references)
    ]
    assert len(set(pictures)) == len(pictures)


def test_more_steps_draw_another_picture(generator: Generator) -> None:
    pictures = {
        generator.generate(PROMPT, seed=7, num_inference_steps=n).image.tobytes() for n in (1, 2, 3, 4)
    }
    assert len(pictures) == 4


def test_long_prompts_warn_by_name_of_what_was_cut(generator: Generator) -> None:
    words = " ".join(f"word{number}" for number in range(100))
    with pytest.warns(PromptTruncatedWarning, match="'word99'") as caught:
        result = generator.generate(words, seed=1)
    assert len(caught) == 1
    assert "'word0'" not in str(caught[0].message)
    assert caught[0].filename == __file__, "the warning points at the caller"
    assert result.prompt == words


def test_each_long_prompt_warns_once(generator: Generator) -> None:
    prompts = [" ".join([name] * 90) for name in ("cat", "dog")]
    with pytest.warns(PromptTruncatedWarning) as caught:
        generator.generate(prompts, seed=1, num_images=3)
    assert [str(warning.message)[:11] for warning in caught] == ["prompt 'cat", "prompt 'dog"]


def test_threads_may_share_a_generator(generator: Generator) -> None:
    expected = [generator.generate(PROMPT, seed=seed).image.tobytes() for seed in range(8)]
    drawn: dict[int, bytes] = {}

    def draw(seed: int) -> None:
        drawn[seed] = generator.generate(PROMPT, seed=seed).image.tobytes()

    workers = [threading.Thread(target=draw, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [drawn[seed] for seed in range(8)] == expected


def test_loading_reports_progress_and_threads_may_sleep(nano_bundle: Path, generator: Generator) -> None:
    seen: list[LoadProgress] = []
    options: dict[str, Any] = {"device": "cpu", "threads": 1, "spinning": False}
    with Generator(nano_bundle, progress=seen.append, **options) as quiet:
        assert [progress.done for progress in seen] == list(range(1, seen[0].total + 1))
        quiet.warmup(num_images=2)
        drawn = quiet.generate(PROMPT, seed=7)
    assert drawn.image.tobytes() == generator.generate(PROMPT, seed=7).image.tobytes()


def test_what_progress_raises_ends_the_loading(nano_bundle: Path) -> None:
    def give_up(progress: LoadProgress) -> None:
        raise LookupError(progress.graph)

    with pytest.raises(LookupError):
        Generator(nano_bundle, device="cpu", progress=give_up)


def test_closing_ends_it_and_may_be_repeated(nano_bundle: Path) -> None:
    generator = Generator(nano_bundle, device="cpu", threads=1)
    generator.warmup()
    generator.close()
    generator.close()
    with pytest.raises(GeneratorClosedError, match="closed"):
        generator.warmup()
    with pytest.raises(GeneratorClosedError, match="closed") as caught:
        generator.generate(PROMPT)
    assert caught.value.hint == "make a new Generator"
    assert isinstance(caught.value, RuntimeError)
    assert generator.info.device == "cpu"
    assert repr(generator).endswith("on cpu>")


def test_info_says_what_the_bundle_is(generator: Generator, nano_bundle: Path) -> None:
    info = generator.info
    assert info.path == nano_bundle.resolve()
    assert info.library_size >= info.max_references >= info.default_references >= 1
    assert set(info.flavours) >= {"text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder"}
    assert info.as_dict()["path"] == str(info.path)
