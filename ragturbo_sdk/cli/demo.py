"""``ragturbo demo``: one prompt, drawn without and with retrieval from the same noise, on one sheet."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ragturbo_sdk.cli.sheet import Card, SheetContent, draw_sheet
from ragturbo_sdk.generator import Generator
from ragturbo_sdk.info import GeneratorInfo
from ragturbo_sdk.reference import Reference
from ragturbo_sdk.result import GenerationResult

PROMPT = "a fox on a white background"
SEED = 3


@dataclass(frozen=True)
class Demo:
    """The sheet and the two results that it shows."""

    sheet: Image.Image
    """RGB, 1040 pixels wide."""
    without: GenerationResult
    """Drawn without references."""
    retrieved: GenerationResult
    """Drawn with references, from the same seed."""


def draw_demo(
    generator: Generator,
    prompt: str,
    *,
    seed: int = SEED,
    references: int | None = None,
    strength: float = 1.0,
    num_inference_steps: int = 1,
) -> Demo:
    """Draw a prompt twice from the same noise, without and with retrieval.

    Args:
        generator: An open generator.
        prompt: What to draw.
        seed: Decides the noise of both pictures.
        references: How many references to use; None for the bundle's default.
        strength: How strongly they act, 0 to 2.
        num_inference_steps: Denoising steps, 1 to 4.

    Returns:
        The sheet and both results.

    Raises:
        InvalidInputError: An argument is out of range.
        RetrievalError: The library cannot be read.
        InferenceError: A graph failed.
    """
    generator.warmup()  # the first run of a graph is slower, and the sheet shows the times
    retrieved = generator.generate(
        prompt,
        seed=seed,
        references=references,
        strength=strength,
        num_inference_steps=num_inference_steps,
    )
    without = generator.generate(prompt, seed=seed, num_inference_steps=num_inference_steps, retrieval=False)
    return Demo(_sheet(generator.info, without, retrieved), without, retrieved)


def _sheet(info: GeneratorInfo, without: GenerationResult, retrieved: GenerationResult) -> Image.Image:
    count = len(retrieved.references)
    steps = retrieved.num_inference_steps
    small_print = (
        f"ragturbo {info.sdk_version}",
        f"model {info.name} {info.bundle_version}",
        f"seed {retrieved.seed}",
        f"{steps} denoising step{'s' if steps > 1 else ''} on {info.device}",
    )
    content = SheetContent(
        prompt=retrieved.prompt,
        without=without.image,
        without_note=f"{without.timings['total']:.1f} ms",
        retrieved=retrieved.image,
        retrieved_note=f"same noise, {retrieved.timings['total']:.1f} ms",
        cards=[_card(reference) for reference in retrieved.references],
        library_note=f"{count} of {info.library_size:,} captioned pictures",
        footer="  |  ".join(small_print),
    )
    return draw_sheet(content)


def _card(reference: Reference) -> Card:
    return Card(
        thumbnail=reference.thumbnail(),
        caption=reference.caption,
        similarity=reference.similarity,
        weight=reference.weight,
    )
