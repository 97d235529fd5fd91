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
        InferenceError: A picture holds NaN or infinity, or is of one colour in every pixel.
    """
    require_finite(decoded, graph="vae_decoder")
    scaled = decoded.astype(np.float32) * np.float32(127.5) + np.float32(128.0)  # + 127.5, and + 0.5 to round
    pixels = np.clip(scaled, 0.0, 255.0, out=scaled).astype(np.uint8)
    _require_more_than_one_colour(pixels)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def _require_more_than_one_colour(pixels: Pixels) -> None:
    """Refuse (B, 3, H, W) in which all pixels of a picture are equal.

    That is what overflow and lost weights look like after clipping, most often as black. What a working graph draws is
    never so even: a prompt for a black square gives noise of a level or two.
    """
    planes = pixels.reshape(*pixels.shape[:2], -1)
    for picture in planes[(planes == planes[:, :, :1]).all(axis=(1, 2))]:
        colour = tuple(picture[:, 0].tolist())
        drew = "a wholly black picture" if not any(colour) else f"one colour, {colour}, in every pixel"
        raise InferenceError(f"vae_decoder: drew {drew}", graph="vae_decoder", hint=FP16_HINT)


def to_images(pixels: Pixels) -> list[Image]:
    """Wrap pixels as PIL images.

    Args:
        pixels: (B, H, W, 3) uint8.

    Returns:
        B images, mode RGB.
    """
    from PIL import Image

    return [Image.fromarray(picture) for picture in pixels]
