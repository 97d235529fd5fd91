"""Sample grids: a stage's pictures as one PNG, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from training.atomic import save_atomically


def to_uint8(pixels: Tensor) -> np.ndarray:
    """(N, 3, H, W) float in [-1, 1] to (N, H, W, 3) uint8, clipped."""
    scaled = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round()
    return np.ascontiguousarray(scaled.byte().cpu().numpy().transpose(0, 2, 3, 1))


def save_grid(path: Path, pixels: Tensor, *, columns: int) -> None:
    """Write pictures side by side.

    Args:
        path: A PNG file; its folder is made.
        pixels: (N, 3, H, W) float in [-1, 1]; the last row is filled up with black.
        columns: Pictures a row.
    """
    tiles = to_uint8(pixels)
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1:3]
    sheet = np.zeros((rows * columns, height, width, 3), dtype=np.uint8)
    sheet[: len(tiles)] = tiles
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    picture = Image.fromarray(np.ascontiguousarray(sheet).reshape(rows * height, columns * width, 3))
    save_atomically(path, lambda beside: picture.save(beside, format="PNG"))
