"""Folders of captioned pictures, drawn here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A picture of its own: noise in large squares."""
    rng = np.random.default_rng(number)
    squares = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(squares).resize(size, Image.Resampling.NEAREST)


def caption(number: int) -> str:
    """What the picture of a number shows; no two are alike."""
    animals = ("cat", "dog", "fox", "owl", "bee", "pig", "cow", "hen")
    colours = ("red", "blue", "green", "black", "white")
    return f"a {colours[number // 8 % 5]} {animals[number % 8]} number {number}"


def imagefolder(folder: Path, numbers: Sequence[int]) -> Path:
    """Pictures and a metadata.jsonl."""
    folder.mkdir(parents=True)
    rows = []
    for number in numbers:
        picture(number).save(folder / f"{number:04d}.png")
        rows.append(
            {
                "file_name": f"{number:04d}.png",
                "text": caption(number),
                "source": "drawn here",
                "licence": "CC0-1.0",
            }
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder
