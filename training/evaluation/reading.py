"""What was read off a picture: the things in it and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.scene import BACKGROUNDS, PLACES, Scene

GROUNDS: tuple[str, ...] = (*BACKGROUNDS, *PLACES)
"""Everything that can stand behind the things: colour names, then place names."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that was found."""

    concept: str
    x: float
    """Centre, share of the picture's width from the left."""
    y: float
    """Centre, share of the picture's height from the top."""
    size: float
    """Side, share of the picture's width."""
    confidence: float
    """Probability that this thing is there, 0 to 1."""


@dataclass(frozen=True)
class Reading:
    """All that was found in one picture."""

    detections: tuple[Detection, ...]
    """The things that are there: each above the reader's threshold."""
    evidence: dict[str, float]
    """Concept -> highest probability anywhere in the picture, below the threshold too; if missing, 0."""
    grounds: dict[str, float]
    """Name of `GROUNDS` -> probability; a missing name is 0."""

    def of(self, concept: str) -> tuple[Detection, ...]:
        """The detections of one concept."""
        return tuple(found for found in self.detections if found.concept == concept)

    @property
    def ground(self) -> str | None:
        """The likeliest ground, or None when nothing was read of it."""
        return max(self.grounds, key=self.grounds.__getitem__) if self.grounds else None


def reading_of(scene: Scene) -> Reading:
    """What a perfect reader finds in a perfect picture of a scene: the oracle of the tests.

    Args:
        scene: Its placed things become detections with confidence 1.
    """
    detections = tuple(Detection(p.concept, p.x, p.y, p.size, 1.0) for p in scene.placed)
    ground = scene.background if scene.place is None else scene.place
    return Reading(detections, {p.concept: 1.0 for p in scene.placed}, {str(ground): 1.0})
