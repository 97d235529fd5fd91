"""How far a drawing has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DrawProgress:
    """A stage of a drawing is done."""

    stage: str
    """``"text_encoder"``, ``"unet_encoder"``, ``"adapter"``, ``"unet_decoder"`` or ``"vae_decoder"``."""
    step: int
    """The denoising step that it belongs to, from 1; 0 before the first, and the last one's number behind it."""
    done: int
    """Stages that are done by now, this one included."""
    total: int
    """Stages of the drawing. The adapter is skipped where no reference weighs anything: ``done`` then leaps."""


class DrawReport:
    """Counts the stages of one drawing, and tells somebody."""

    def __init__(self, tell: Callable[[DrawProgress], object], *, steps: int, adapter: bool) -> None:
        """Plan the stages.

        Args:
            tell: Called with each stage in the thread that draws; what it raises ends the drawing.
            steps: Denoising steps.
            adapter: Whether references are asked for.
        """
        step = ("unet_encoder", "adapter", "unet_decoder") if adapter else ("unet_encoder", "unet_decoder")
        self._plan = ["text_encoder", *step * steps, "vae_decoder"]
        self._tell, self._done, self._step = tell, 0, 0

    def stage_done(self, name: str) -> None:
        """Tell that the next stage of this name is done."""
        self._done = self._plan.index(name, self._done) + 1
        self._step += name == "unet_encoder"
        self._tell(DrawProgress(name, self._step, self._done, len(self._plan)))
