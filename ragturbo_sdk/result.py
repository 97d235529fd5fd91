"""What a call to generate gives back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ragturbo_sdk._version import __version__
from ragturbo_sdk.png import check_png_path, write_png
from ragturbo_sdk.reference import Reference


@dataclass(frozen=True)
class GenerationResult:
    """Pictures, and how they came about.

    ``image``, ``prompt``, ``seed`` and ``references`` are the first picture's. ``images``, ``prompts``,
    ``seeds`` and ``references_of`` hold all of them in one order: the first prompt's, then the second's.
    """

    images: tuple[Image.Image, ...] = field(repr=False)
    """RGB, one per prompt and picture."""
    prompts: tuple[str, ...]
    """The prompt of each picture."""
    seeds: tuple[int, ...]
    """The seed of each picture: with it alone, ``generate(prompt, seed=...)`` draws the picture again."""
    references_of: tuple[tuple[Reference, ...], ...]
    """The references of each picture: those nearest to the whole prompt and to its phrases, in turn."""
    timings: Mapping[str, float]
    """Milliseconds of the whole call by stage (text_encoder, search, features, unet_encoder, adapter,
    unet_decoder, vae_decoder), and ``total``. Where a core is free, references are looked up beside the U-Net's
    encoder: the stages may add up to more than the total."""
    num_inference_steps: int
    strength: float
    bundle: str
    """Name of the bundle that drew it."""
    bundle_version: str

    @property
    def image(self) -> Image.Image:
        """The first picture, RGB; its own ``save`` writes the pixels alone, without how they were made."""
        return self.images[0]

    @property
    def prompt(self) -> str:
        """The first picture's prompt."""
        return self.prompts[0]

    @property
    def seed(self) -> int:
        """The first picture's seed."""
        return self.seeds[0]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The first picture's references."""
        return self.references_of[0]

    def metadata(self, index: int = 0) -> dict[str, Any]:
        """How one picture was made, as JSON values.

        Args:
            index: Which picture, from 0.

        Returns:
            What ``read_metadata`` reads back from the saved file.

        Raises:
            IndexError: There are not so many pictures.
        """
        return {
            "prompt": self.prompts[index],
            "seed": self.seeds[index],
            "num_inference_steps": self.num_inference_steps,
            "strength": self.strength,
            "references": [reference.metadata() for reference in self.references_of[index]],
            "bundle": {"name": self.bundle, "version": self.bundle_version},
            "version": __version__,
        }

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write the pictures as PNG files that say how they were made.

        Each file is written whole or not at all.

        Args:
            path: The file. Of several pictures, the first becomes ``name-1.png``, and so on.

        Returns:
            The files.

        Raises:
            OutputError: The name does not end in ``.png``, or a file cannot be written.
        """
        paths = numbered(Path(path), len(self.images))
        targets = [check_png_path(target) for target in paths]
        for index, target in enumerate(targets):
            write_png(target, self.images[index], self.metadata(index))
        return paths


def numbered(path: Path, count: int) -> tuple[Path, ...]:
    """Name the files of several pictures.

    Args:
        path: What the caller named.
        count: How many pictures there are.

    Returns:
        The path itself for one picture, else ``name-1.png`` and so on beside it.
    """
    if count == 1:
        return (path,)
    return tuple(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1))
