"""NaN and infinity never become a picture."""

from __future__ import annotations

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.errors import InferenceError

FP16_HINT = (
    "a file may be damaged, which Generator(bundle, verify='full') would name, or a graph in half precision has "
    "overflowed; use the portable bundle, or export it again"
)


def require_finite(values: Array, *, graph: str) -> None:
    """Refuse the output of a graph that holds NaN or infinity.

    Args:
        values: Floats of any shape.
        graph: The graph's name, for the message.

    Raises:
        InferenceError: A value is not finite.
    """
    if not np.isfinite(values).all():
        raise InferenceError(f"{graph}: returned NaN or infinity", graph=graph, hint=FP16_HINT)
