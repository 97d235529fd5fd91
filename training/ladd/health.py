"""Watches a run for the ways in which it goes wrong, and names the cure."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)

SATURATED_LOSS = 0.1
"""The heads' hinge loss is 2 where they know nothing and 0 where they know all; below this the student learns nothing
from them."""
PATIENCE = 5
"""Intervals in a row before a warning."""
USED_SHARE = 0.005
"""Right references must have a loss lower than wrong ones by this share."""
GRADIENT_RATIO = 20.0
"""Of two losses' gradients: beyond it, one of them is not heard."""


class Health:
    """Looks at the means of every logged interval, and at the held-out losses; each warning comes once a run."""

    def __init__(self) -> None:
        self._saturated = 0
        self._drowned = 0
        self._unused = 0
        self._said: set[str] = set()

    def look(self, step: int, means: Mapping[str, float]) -> None:
        """Take in the means of an interval.

        Args:
            step: Steps done.
            means: As `Trainer.train_step` names them.
        """
        saturated = means.get("loss/heads", 2.0) < SATURATED_LOSS
        self._saturated = self._saturated + 1 if saturated else 0
        if self._saturated >= PATIENCE:
            self._say(
                "saturated",
                f"step {step}: the discriminator tells everything apart (loss/heads {means['loss/heads']:.3f}); its "
                "gradients say little now: lower [optimiser] heads_learning_rate, or [losses] head_width",
            )
        loudest, name = _loudest(means)
        self._drowned = self._drowned + 1 if loudest > GRADIENT_RATIO else 0
        if self._drowned >= PATIENCE:
            self._say(
                "drowned",
                f"step {step}: the gradient of {name} is {loudest:.0f} times that of the weakest loss; lower its "
                "weight in [losses]",
            )

    def look_at_references(self, step: int, losses: Mapping[str, float]) -> None:
        """Take in held-out losses.

        Args:
            step: Steps done.
            losses: With ``right``, ``wrong`` and ``none`` references, names masked.
        """
        unused = losses["right"] > (1 - USED_SHARE) * losses["wrong"]
        self._unused = self._unused + 1 if unused else 0
        if self._unused >= PATIENCE:
            self._say(
                "unused",
                f"step {step}: the references are ignored (held-out loss {losses['right']:.5f} with right ones, "
                f"{losses['wrong']:.5f} with wrong ones): raise [masking] share, add [real] pairs or [alignment] "
                "steps, and see whether they hold anything at all (python -m training.ladd.probe)",
            )

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning(text)


def _loudest(means: Mapping[str, float]) -> tuple[float, str]:
    """Weighed gradient norms: the largest over the smallest, and whose it is."""
    weighed = {
        name: means[f"gradient/{name}"] * means.get(f"weight/{name}", 1.0)
        for name in ("smooth_l1", "perceptual", "adversarial")
        if f"gradient/{name}" in means
    }
    audible = {name: value for name, value in weighed.items() if value > 0}
    if len(audible) < 2:
        return 1.0, ""
    name = max(audible, key=audible.__getitem__)
    return audible[name] / min(audible.values()), name
