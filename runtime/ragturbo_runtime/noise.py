"""Noise from a seed: drawn on the CPU, so that a seed means the same picture on every device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# By name, at the top: asked of `np`, numpy would load this module in the first picture. While a module loads,
# Ctrl-C can get lost: Python drops it in a lock's callback, Cython's code drops it or raises ImportError instead.
from numpy.random import Generator, Philox

from ragturbo_runtime.arrays import Latents
from ragturbo_runtime.errors import InvalidInputError


def noise(seed: int, shape: tuple[int, ...]) -> Latents:
    """Draw one picture's noise.

    Args:
        seed: 0 or more; Philox's counter is keyed by it (through numpy's SeedSequence).
        shape: Of one picture, for example (4, 16, 16).

    Returns:
        ``shape`` float32, standard normal; the same bytes for the same seed and shape, everywhere.

    Raises:
        InvalidInputError: The seed is not an integer of 0 or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInputError(f"seed is {seed!r}, expected an integer of 0 or more", argument="seed")
    return Generator(Philox(int(seed))).standard_normal(shape, dtype=np.float32)


def batch_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Latents:
    """Draw the noise of several pictures, one generator each: a picture does not depend on its neighbours.

    Args:
        seeds: B seeds, 0 or more.
        shape: Of one picture.

    Returns:
        (B, *shape) float32, standard normal.

    Raises:
        InvalidInputError: A seed is not an integer of 0 or more.
    """
    return np.stack([noise(seed, shape) for seed in seeds])
