"""A seed and a prompt give the picture that they gave before, in every detail that can be seen.

Other processors add in another order, so pictures are compared by PSNR, not by hash; a real change - another
noise, a missing reference, swapped channels - costs tens of decibels. After a failure, ``failures`` beside
this file holds what was expected, what was drawn, and the difference. To write the pictures anew:
``pytest tests/golden --regenerate-golden``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ragturbo_sdk import GenerationResult, Generator
from ragturbo_sdk.generator import BUNDLED_MODEL

HERE = Path(__file__).parent
LEAST_PSNR = 45.0  # dB; one 8-bit step in every value would be 48.1
PROMPT = "a cat left of two pizzas on a blue background"


@dataclass(frozen=True)
class Case:
    """One golden picture."""

    name: str
    prompt: str
    seed: int
    references: int
    strength: float = 1.0
    num_inference_steps: int = 1

    def draw(self, generator: Generator) -> GenerationResult:
        """Draw it now."""
        return generator.generate(
            self.prompt,
            seed=self.seed,
            references=self.references,
            strength=self.strength,
            num_inference_steps=self.num_inference_steps,
        )


CASES = [
    Case("plain", PROMPT, seed=7, references=0),
    Case("retrieved", PROMPT, seed=7, references=4),
    Case("half", PROMPT, seed=7, references=2, strength=0.5),
    Case("steps", "a big dog at the beach", seed=2**40, references=4, num_inference_steps=4),
    Case("unicode", "café & 猫 🐈, three small cherries", seed=0, references=4),
]


@pytest.fixture(scope="session", params=["nano", "emoji"])
def golden(request: pytest.FixtureRequest, nano_bundle: Path) -> Iterator[tuple[Generator, Path]]:
    """A generator and the folder of its pictures, for each bundle."""
    bundle = nano_bundle if request.param == "nano" else BUNDLED_MODEL
    if not (bundle / "manifest.json").exists():
        pytest.skip(f"no bundle {request.param} in this checkout")
    with Generator(bundle, device="cpu", threads=1) as generator:
        yield generator, HERE / "pictures" / request.param


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_picture(golden: tuple[Generator, Path], case: Case, *, regenerate: bool) -> None:
    generator, folder = golden
    result = case.draw(generator)
    expected = folder / f"{case.name}.png"
    captions = folder / f"{case.name}.json"
    if regenerate:
        folder.mkdir(parents=True, exist_ok=True)
        result.save(expected)
        captions.write_text(json.dumps([r.id for r in result.references], indent=1) + "\n", encoding="utf-8")
        pytest.skip(f"wrote {expected.name}")
    if not expected.exists():
        pytest.fail(f"{expected.name} was never written: pytest tests/golden --regenerate-golden")
    with Image.open(expected) as image:
        stored = image.convert("RGB")
    psnr = peak_signal_to_noise(stored, result.image)
    if psnr < LEAST_PSNR:
        saved = save_failure(f"{folder.name}-{case.name}", stored, result.image)
        pytest.fail(f"{psnr:.1f} dB, at least {LEAST_PSNR:.0f} dB expected: see {saved}")
    assert [r.id for r in result.references] == json.loads(captions.read_text(encoding="utf-8"))


def test_the_comparison_sees_what_it_is_for(golden: tuple[Generator, Path], tmp_path: Path) -> None:
    generator, _ = golden
    picture = CASES[0].draw(generator).image
    assert peak_signal_to_noise(picture, picture) == float("inf")
    for other in (
        CASES[0].draw(generator).image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        CASES[1].draw(generator).image,
    ):
        assert peak_signal_to_noise(picture, other) < LEAST_PSNR
    saved = save_failure("difference", picture, picture.rotate(180), folder=tmp_path)
    assert {path.name for path in saved.iterdir()} == {"actual.png", "expected.png", "difference.png"}


def peak_signal_to_noise(first: Image.Image, second: Image.Image) -> float:
    """PSNR of two 8-bit pictures in dB; infinite if they are equal."""
    error = float(np.mean((_values(first) - _values(second)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def save_failure(
    name: str, expected: Image.Image, actual: Image.Image, *, folder: Path = HERE / "failures"
) -> Path:
    """Write both pictures and their difference, eight times amplified around grey, and say where."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    difference = np.clip(128 + 8 * (_values(actual) - _values(expected)), 0, 255).astype(np.uint8)
    expected.save(target / "expected.png")
    actual.save(target / "actual.png")
    Image.fromarray(difference).save(target / "difference.png")
    return target


def _values(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), dtype=np.float64)
