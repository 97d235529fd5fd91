"""From the VAE decoder's output to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragturbo_runtime.arrays import Array, Pixels
from ragturbo_runtime.errors import InferenceError
from ragturbo_runtime.finite import FP16_HINT, require_finite

if TYPE_CHECKING:
    from PIL.Image import Image


def to_pixels(decoded: Array) -> Pixels:
    """Turn decoder output into 8-bit pixels, and refuse what is no picture.

    Args:
        decoded: (B, 3, H, W) float, about [-1, 1]; values outside are clipped.

    Returns:
        (B, H, W, 3) uint8, sRGB.

    Raises:
        InferenceError: A picture holds NaN or infinity, or is black in every pixel.
    """
    require_finite(decoded, graph="vae_decoder")
    scaled = decoded.astype(np.float32) * np.float32(127.5) + np.float32(128.0)  # + 127.5, and + 0.5 to round
    pixels = np.clip(scaled, 0.0, 255.0, out=scaled).astype(np.uint8)
    if not pixels.any(axis=(1, 2, 3)).all():
        raise InferenceError("vae_decoder: drew a wholly black picture", graph="vae_decoder", hint=FP16_HINT)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def to_images(pixels: Pixels) -> list[Image]:
    """Wrap pixels as PIL images.

    Args:
        pixels: (B, H, W, 3) uint8.

    Returns:
        B images, mode RGB.
    """
    from PIL import Image

    return [Image.fromarray(picture) for picture in pixels]
