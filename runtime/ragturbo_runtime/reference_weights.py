"""From similarities to the weights of the references (the paper's lambda)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Weights


def reference_weights(similarities: NDArray[Any], *, low: float = 0.0, high: float = 1.0) -> Weights:
    """Turn cosines into weights: ``lambda_i = clip((cos_i - low) / (high - low), 0, 1)``.

    ``low = 0, high = 1`` is the paper. A text encoder whose cosines bunch (0.91 to 0.93, say) needs other
    bounds, or every reference would weigh the same.

    Args:
        similarities: (..., K) cosines in [-1, 1].
        low: The cosine of weight 0.
        high: The cosine of weight 1, above ``low``.

    Returns:
        (..., K) float32 in [0, 1].

    Raises:
        ValueError: ``low`` is not below ``high``.
    """
    if not low < high:
        raise ValueError(f"low is {low}, high is {high}: expected low < high")
    # In double precision: a manifest's bounds may be far from all cosines, or very near to each other.
    weights: Weights = np.interp(similarities, (low, high), (0.0, 1.0)).astype(np.float32)
    return weights


def outer_weight(weights: NDArray[Any]) -> Weights:
    """Return the weight of the whole correction: ``sum(lambda_i^2) / sum(lambda_i)``, 0 where there is none.

    With one reference this is its lambda, as in the paper; a reference of weight 0 changes nothing.

    Args:
        weights: (..., K) in [0, 1].

    Returns:
        (...) float32 in [0, 1].
    """
    values = np.asarray(weights, dtype=np.float32)
    total = values.sum(axis=-1)
    squares = np.square(values).sum(axis=-1)
    weight: Weights = np.divide(squares, total, out=np.zeros_like(total), where=total > 0)
    return weight
