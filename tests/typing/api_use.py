"""A host's code: it only uses the public surface, and mypy --strict must find nothing to say."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from PIL.Image import Image

import ragturbo_sdk
from ragturbo_sdk import (
    GenerationResult,
    Generator,
    GeneratorInfo,
    InvalidInputError,
    LoadProgress,
    ProviderUnavailableError,
    RagTurboError,
    Reference,
    read_metadata,
)


def draw(generator: Generator) -> Image:
    """Three lines, as in the README."""
    result = generator.generate("a cat left of two pizzas", seed=7)
    result.image.save("cat.png")
    return result.image


def options(folder: Path) -> GenerationResult:
    """Every option of the constructor and of generate."""
    with Generator(folder, device="cpu", threads=2, verify="full") as generator:
        assert_type(generator, Generator)
        assert_type(generator.info, GeneratorInfo)
        generator.warmup()
        generator.warmup(num_images=2)
        return generator.generate(
            ["a cat", "a dog"],
            seed=None,
            num_images=2,
            references=4,
            strength=0.5,
            num_inference_steps=1,
            retrieval=True,
        )


def loading(folder: Path) -> Generator:
    """Every option of loading that is not about drawing."""
    seen: list[str] = []

    def show(progress: LoadProgress) -> None:
        assert_type(progress.graph, str)
        assert_type(progress.done / progress.total, float)
        seen.append(progress.graph)

    Generator(folder, device="cpu", threads=None, spinning=False, progress=show).close()
    return Generator(folder, device="cuda:1", memory_limit=4 * 2**30, cuda_graphs=True)


def results(result: GenerationResult) -> None:
    """Every field of a result."""
    assert_type(result.image, Image)
    assert_type(result.images, tuple[Image, ...])
    assert_type(result.prompts, tuple[str, ...])
    assert_type(result.seed, int)
    assert_type(result.seeds, tuple[int, ...])
    assert_type(result.references, tuple[Reference, ...])
    assert_type(result.references_of, tuple[tuple[Reference, ...], ...])
    assert_type(result.timings["total"], float)
    assert_type(result.save("cat.png"), tuple[Path, ...])
    for reference in result.references:
        assert_type(reference.caption, str)
        assert_type(reference.similarity, float)
        assert_type(reference.thumbnail(), Image)
    prompt: str = read_metadata(Path("cat.png"))["prompt"]
    assert_type(prompt, str)


def errors() -> str | None:
    """The tree of errors."""
    try:
        Generator(device="cuda")
    except ProviderUnavailableError as error:
        assert_type(error.available, tuple[str, ...])
        return error.hint
    except InvalidInputError as error:
        return error.argument
    except RagTurboError as error:
        return error.message
    return ragturbo_sdk.__version__


def wrong(generator: Generator) -> None:
    """What a type checker must refuse; an ignore that is not needed is an error too."""
    generator.generate("a cat", 7)  # type: ignore[call-arg]
    generator.generate(7)  # type: ignore[arg-type]
    generator.generate("a cat", sead=7)  # type: ignore[call-arg]
    Generator(memory_limit="4G")  # type: ignore[arg-type]
    Generator(verify="sometimes")  # type: ignore[arg-type]
    ragturbo_sdk.Genrator()  # type: ignore[attr-defined]
