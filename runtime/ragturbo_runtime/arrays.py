"""Names for the arrays that travel between the graphs.

B pictures, D text width, E key width, c latent channels of (h, w), C h-space channels of T = hh * hw tokens,
K references, Q queries, N library entries.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""Any numpy array."""

InputIds: TypeAlias = NDArray[np.int64]
"""(B, L) int64 token ids, 0 after the end-of-text token."""

PromptEmbeds: TypeAlias = NDArray[np.float32]
"""(B, 77, D) float32, what conditions the U-Net."""

Keys: TypeAlias = NDArray[np.float32]
"""(B, E) float32 unit vectors, what retrieval compares."""

Latents: TypeAlias = NDArray[np.float32]
"""(B, c, h, w) float32 in the model's scaled space, about [-4, 4]."""

Features: TypeAlias = NDArray[np.int8] | NDArray[np.float16]
"""(K, T, C) int8 or float16 h-space features, to be multiplied by a (C,) float32 scale."""

Scale: TypeAlias = NDArray[np.float32]
"""(C,) float32, one positive quantisation step per h-space channel."""

Weights: TypeAlias = NDArray[np.float32]
"""(K,) or (B, K) float32 reference weights, lambda in [0, 1]."""

Rows: TypeAlias = NDArray[np.int64]
"""(K,) int64 row numbers in the library."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(B, H, W, 3) uint8, sRGB."""
