"""Product quantisation of features (Jegou et al., 2011, https://doi.org/10.1109/TPAMI.2010.57): a trial.

The channels of a token are cut into pieces, and each piece is the number of the nearest of 256 that were learned.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor

PIECE = 8
"""Channels of a piece: a byte stands for eight numbers."""
CODES = 256
_TAUGHT = 16_384
"""Tokens that the codes are learned from; there are 64 for each code."""


def lose_to_product_codes(features: Tensor, *, seed: int = 0) -> Tensor:
    """Encode features and decode them again.

    Args:
        features: (N, T, C) float32; C is a multiple of 8.
        seed: Where the codes begin.

    Returns:
        (N, T, C) float32, of which C / 8 bytes a token would be stored; the codes themselves take C kilobytes once.

    Raises:
        ValueError: C is no multiple of 8.
    """
    count, tokens, channels = features.shape
    if channels % PIECE:
        raise ValueError(f"features have {channels} channels, expected a multiple of {PIECE}")
    rows = features.reshape(-1, channels).numpy()
    rng = np.random.default_rng(seed)
    taught = rows[rng.permutation(len(rows))[:_TAUGHT]]
    restored = np.empty_like(rows)
    for start in range(0, channels, PIECE):
        piece = slice(start, start + PIECE)
        codes = _learn_codes(taught[:, piece], rng)
        restored[:, piece] = codes[vq(rows[:, piece], codes)[0]]
    return torch.from_numpy(restored).reshape(count, tokens, channels)


def _learn_codes(pieces: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    different = np.unique(pieces, axis=0)
    if len(different) <= CODES:
        return different
    codes, _ = kmeans2(pieces, CODES, minit="++", seed=rng, iter=15)
    return np.asarray(codes, np.float32)
