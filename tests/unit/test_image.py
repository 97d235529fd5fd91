"""Decoder output to pixels."""

from __future__ import annotations

import numpy as np
import pytest

from ragturbo_runtime.errors import InferenceError
from ragturbo_runtime.image import to_images, to_pixels


def test_every_byte_value_survives_the_round_trip() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    decoded = values.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(to_pixels(decoded), values)


def test_values_outside_are_clipped_and_rounded_to_the_nearest() -> None:
    decoded = np.full((1, 3, 1, 4), 2.0, dtype=np.float32)
    decoded[..., 0], decoded[..., 1], decoded[..., 2] = -3.0, 0.0, 1.0
    assert to_pixels(decoded)[0, 0, :, 0].tolist() == [0, 128, 255, 255]


def test_pixels_are_rows_of_rgb() -> None:
    decoded = -np.ones((2, 3, 5, 7), dtype=np.float32)
    decoded[:, 2] = 1.0
    decoded[:, :, 0, 0] = 0.5
    pixels = to_pixels(decoded)
    assert pixels.shape == (2, 5, 7, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    image = to_images(pixels)[1]
    assert (image.mode, image.size) == ("RGB", (7, 5))
    assert image.getpixel((6, 4)) == (0, 0, 255)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    decoded = np.zeros((2, 3, 4, 4), dtype=np.float32)
    decoded[1, 2, 3, 3] = value
    with pytest.raises(InferenceError, match="NaN or infinity") as caught:
        to_pixels(decoded)
    assert caught.value.graph == "vae_decoder"


def noise(pictures: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (pictures, 3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        ((-1.0, -1.0, -1.0), "a wholly black picture"),
        ((-1e30, -7.0, -1.0), "a wholly black picture"),
        ((1.0, 1.0, 1.0), r"one colour, \(255, 255, 255\), in every pixel"),
        ((0.0, -1.0, 1.0), r"one colour, \(128, 0, 255\), in every pixel"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_picture_of_one_colour_is_refused(colour: tuple[float, ...], said: str, place: int) -> None:
    decoded = noise(2)
    decoded[place] = np.asarray(colour, np.float32)[:, None, None]
    with pytest.raises(InferenceError, match=f"vae_decoder: drew {said}; .*portable bundle") as caught:
        to_pixels(decoded)
    assert caught.value.graph == "vae_decoder"


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_picture_with_one_other_pixel_is_one(channel: int) -> None:
    decoded = np.full((1, 3, 4, 4), -1.0, np.float32)
    decoded[0, channel, 3, 3] = -1.0 + 1 / 127
    assert to_pixels(decoded).sum() == 1


def test_the_same_picture_twice_is_no_fault() -> None:
    np.testing.assert_array_equal(*to_pixels(noise(1).repeat(2, axis=0)))
