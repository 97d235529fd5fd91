"""Draws scenes as pixels, from the glyph atlas."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.data.glyphs import glyph
from training.data.scene import BACKGROUNDS, PLACES, Placed, Scene

Pixels = NDArray[np.uint8]


def draw(scene: Scene, resolution: int = 64) -> Pixels:
    """Draw one scene.

    Args:
        scene: What to draw.
        resolution: Side in pixels, 16 or more.

    Returns:
        (resolution, resolution, 3) uint8, sRGB.
    """
    canvas = _ground(scene.background, scene.place, resolution).copy()
    for placed in scene.placed:
        _paint(canvas, placed)
    return np.rint(canvas).astype(np.uint8)


def draw_batch(scenes: list[Scene], resolution: int = 64) -> NDArray[np.float32]:
    """Draw scenes as training wants them.

    Returns:
        (N, 3, resolution, resolution) float32 in [-1, 1].
    """
    pixels = np.stack([draw(scene, resolution) for scene in scenes])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1.0


def _paint(canvas: NDArray[np.float32], placed: Placed) -> None:
    resolution = len(canvas)
    side = min(max(1, round(placed.size * resolution)), resolution)
    colour, ground = glyph(placed.concept, side)
    left = min(max(0, round(placed.x * resolution - side / 2)), resolution - side)
    top = min(max(0, round(placed.y * resolution - side / 2)), resolution - side)
    window = canvas[top : top + side, left : left + side]
    window *= ground
    window += colour


@cache
def _ground(background: str | None, place: str | None, resolution: int) -> NDArray[np.float32]:
    canvas = np.empty((resolution, resolution, 3), dtype=np.float32)
    if place is None:
        canvas[:] = BACKGROUNDS[str(background)]
        return canvas
    _, upper, lower, border = PLACES[place]
    canvas[:] = upper
    canvas[round(border * resolution) :] = lower
    return canvas
