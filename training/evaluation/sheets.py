"""Sheets of pictures to look at: a line per caption, a column per row of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.atomic import save_atomically
from training.data.render import Pixels
from training.data.scene import Scene
from training.data.world import World

PER_SHEET = 10
"""Captions per sheet."""
TITLES = {
    "first": "first captions",
    "rare": "rare concepts",
    "library_only": "concepts that only the library shows",
}
_SCALE = 2  # 64 pixels are small to look at
_TEXT = 14  # pixels of height for a line of text


def choose(scenes: Sequence[Scene], world: World) -> dict[str, list[int]]:
    """Which captions go on which sheet: the first of all, the first with a rare, with a library-only concept.

    Returns:
        Sheet's name -> indices into `scenes`; a sheet without captions is left out.
    """
    sheets = {"first": list(range(min(PER_SHEET, len(scenes))))}
    for frequency in ("rare", "library_only"):
        naming = [i for i, scene in enumerate(scenes) if frequency in map(world.frequency, scene.concepts)]
        sheets[frequency] = naming[:PER_SHEET]
    return {name: indices for name, indices in sheets.items() if indices}


def save_sheet(path: Path, captions: Sequence[str], columns: Mapping[str, Pixels]) -> None:
    """Write one sheet.

    Args:
        path: A PNG file.
        captions: N captions, one line each.
        columns: Column's title -> its pictures, (N, H, W, 3) uint8.
    """
    height, width = (side * _SCALE for side in next(iter(columns.values())).shape[1:3])
    sheet = Image.new("RGB", (len(columns) * width, _TEXT + len(captions) * (height + _TEXT)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (title, pictures) in enumerate(columns.items()):
        pen.text((column * width + 2, 1), title, fill="black")
        for line, picture in enumerate(pictures):
            tile = Image.fromarray(np.ascontiguousarray(picture)).resize(
                (width, height), Image.Resampling.NEAREST
            )
            sheet.paste(tile, (column * width, 2 * _TEXT + line * (height + _TEXT)))
    for line, caption in enumerate(captions):
        pen.text((2, _TEXT + line * (height + _TEXT) + 1), caption, fill="black")
    save_atomically(path, lambda beside: sheet.save(beside, format="PNG"))
