"""What can go wrong while a bundle is made.

::

    ExportError(Exception)
    └─ ParityError          .graph .max_abs_diff .atol .psnr_db: a graph does not compute what torch computes
"""

from __future__ import annotations

_WAY_OUT = "Export again with the pinned versions of torch, onnxscript and onnxruntime"


class ExportError(Exception):
    """A bundle cannot be made from what was given. Nothing was written."""


class ParityError(ExportError):
    """A graph, or the whole chain, differs from torch by more than it may. Nothing was written.

    Attributes:
        graph: The graph's name, or "chain".
        max_abs_diff: Largest absolute difference found; NaN if a value was not finite.
        atol: Largest absolute difference allowed; None where PSNR alone decides.
        psnr_db: Peak signal-to-noise ratio found, dB.
    """

    def __init__(
        self,
        graph: str,
        *,
        max_abs_diff: float,
        atol: float | None,
        psnr_db: float,
        way_out: str | None = None,
    ) -> None:
        """Put the numbers into the message."""
        allowed = "" if atol is None else f" (allowed: {atol:.2g} at most)"
        super().__init__(
            f"{graph}: differs from torch by {max_abs_diff:.3g}{allowed}, PSNR {psnr_db:.1f} dB; "
            f"nothing was written. {way_out or _WAY_OUT}"
        )
        self.graph = graph
        self.max_abs_diff = max_abs_diff
        self.atol = atol
        self.psnr_db = psnr_db
