"""What a scene is: groups of things at places on a ground, and the words for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

Size = Literal["small", "medium", "big"]
Relation = Literal["left of", "right of", "above", "below"]

SIZES: tuple[Size, ...] = get_args(Size)
RELATIONS: tuple[Relation, ...] = get_args(Relation)

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (214, 62, 62),
    "orange": (240, 150, 60),
    "yellow": (250, 222, 90),
    "green": (88, 170, 92),
    "blue": (70, 120, 210),
    "purple": (140, 90, 190),
    "pink": (246, 160, 190),
    "brown": (134, 96, 66),
    "gray": (150, 150, 150),
    "white": (246, 246, 246),
    "black": (28, 28, 32),
}
"""Plain background colours by name, sRGB."""

PLACES: dict[str, tuple[str, tuple[int, int, int], tuple[int, int, int], float]] = {
    "meadow": ("in a meadow", (150, 205, 245), (110, 180, 80), 0.55),
    "beach": ("at the beach", (120, 200, 235), (240, 218, 160), 0.6),
    "desert": ("in the desert", (250, 205, 140), (215, 160, 90), 0.45),
    "snow": ("in the snow", (170, 190, 215), (244, 248, 252), 0.4),
    "night": ("at night", (18, 22, 60), (40, 46, 86), 0.7),
    "sea": ("under water", (60, 170, 200), (16, 70, 130), 0.5),
}
"""Simple places: wording, upper and lower colour (sRGB), and the height of the border between them (share)."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of one kind."""

    concept: str
    count: int
    """1 to 3."""
    size: Size


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing where it stands."""

    concept: str
    x: float
    """Centre, share of the picture's width from the left."""
    y: float
    """Centre, share of the picture's height from the top."""
    size: float
    """Side, share of the picture's width."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a scene shows, before anything has a place: the unit that the splits share out."""

    groups: tuple[Group, ...]
    """One to three, three things in all at most."""
    background: str | None
    """A colour of `BACKGROUNDS`, or None in a place."""
    place: str | None
    """One of `PLACES`, or None on a plain background."""
    relation: Relation | None
    """How ``groups[0]`` stands to ``groups[1]``; None if not said."""

    @property
    def digest(self) -> int:
        """A number that is the same on every machine: what it shows decides which split it belongs to."""
        groups = sorted((g.concept, g.count, g.size) for g in self.groups)
        words = repr((groups, self.background, self.place)).encode()
        return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class Scene:
    """A composition with places and a caption."""

    split: str
    index: int
    composition: Composition
    placed: tuple[Placed, ...]
    caption: str

    @property
    def groups(self) -> tuple[Group, ...]:
        """What it shows."""
        return self.composition.groups

    @property
    def background(self) -> str | None:
        """The plain colour behind, if any."""
        return self.composition.background

    @property
    def place(self) -> str | None:
        """The place it is set in, if any."""
        return self.composition.place

    @property
    def relation(self) -> Relation | None:
        """How the first group stands to the second, if said."""
        return self.composition.relation

    @property
    def concepts(self) -> tuple[str, ...]:
        """The names of what it shows, once each."""
        return tuple(dict.fromkeys(group.concept for group in self.groups))
