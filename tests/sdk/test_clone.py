"""Clones share the weights, and nothing else."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ragturbo_sdk import Generator, GeneratorClosedError, RetrievalError

PROMPT = "a cat left of two pizzas on a blue background"


def test_a_clone_draws_the_same_and_is_closed_on_its_own(nano_bundle: Path) -> None:
    with Generator(nano_bundle, device="cpu", threads=1) as first:
        expected = first.generate(PROMPT, seed=4).image.tobytes()
        second = first.clone()
        third = second.clone()
        assert second.info == first.info
    for call in (lambda: first.generate(PROMPT), first.clone):
        with pytest.raises(GeneratorClosedError):
            call()
    second.close()
    result = third.generate(PROMPT, seed=4)
    assert result.image.tobytes() == expected
    assert result.references[0].thumbnail().size > (0, 0)
    assert len(third.library) > 0
    library = third.library
    third.close()
    with pytest.raises(RetrievalError, match="closed"):
        len(library)


def test_a_clone_may_have_another_library(generator: Generator, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    generator.library.copy(folder)
    with generator.clone(library=folder) as own:
        some = own.library.search(PROMPT, count=1)[0]
        own.library.remove([some.id])
        assert len(own.library) == len(generator.library) - 1
        assert own.library.info.writable
        with own.clone() as again:
            assert again.library.path == folder
            assert again.library.info.writable
            again.library.remove([again.library.search(PROMPT, count=1)[0].id])
        assert len(own.library) == len(generator.library) - 2
    with pytest.raises(RetrievalError):
        generator.clone(library=tmp_path / "nowhere")
    assert generator.generate(PROMPT, seed=1).seed == 1


def test_the_last_to_close_frees_the_weights(nano_bundle: Path) -> None:
    """Even where somebody still holds the closed generators."""
    first = Generator(nano_bundle, device="cpu", threads=1)
    second = first.clone()
    session = weakref.ref(first._drawing.pipeline._graphs["unet_encoder"])
    first.close()
    assert session() is not None
    assert second.generate(PROMPT, seed=1).seed == 1
    second.close()
    gc.collect()
    assert session() is None


def test_a_clone_costs_next_to_no_memory() -> None:
    with Generator(device="cpu", threads=1) as first:
        first.warmup()
        process = psutil.Process()
        before = process.memory_info().rss
        clones = [first.clone() for _ in range(20)]
        for clone in clones:
            clone.generate(PROMPT, seed=1)
        grown = process.memory_info().rss - before
        for clone in clones:
            clone.close()
        weights = sum(file.stat().st_size for file in first.info.path.rglob("*.onnx*"))
    assert grown < weights / 2, (grown, weights)


def test_clones_and_threads_draw_side_by_side_and_the_same_bytes(generator: Generator) -> None:
    clones = [generator.clone() for _ in range(3)]
    expected = {seed: generator.generate(PROMPT, seed=seed).image.tobytes() for seed in range(24)}
    inside, most, lock = 0, 0, threading.Lock()

    def draw(seed: int) -> bool:
        nonlocal inside, most

        def watch(progress: object) -> None:
            nonlocal inside, most
            with lock:
                inside += progress.stage == "text_encoder"  # type: ignore[attr-defined]
                most = max(most, inside)
                inside -= progress.stage == "vae_decoder"  # type: ignore[attr-defined]

        result = [generator, *clones][seed % 4].generate(PROMPT, seed=seed, progress=watch)
        return result.image.tobytes() == expected[seed]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(draw, range(24)))
    assert most > 1
    for clone in clones:
        clone.close()
