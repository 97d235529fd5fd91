"""Invented things: pictures that no font has, under names that nobody knows, as many as training wants.

An adapter that sees some hundred unknown things learns those. What it should learn is to look: so most of what it is
shown was never there before. An invention is one known picture or two of them, turned, mirrored and recoloured.
Its key, for example ``"cat/pizza/17"``, says all there is to know about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.concepts import Concept, concepts
from training.data.words import made_up_word

Tile = NDArray[np.float32]
"""(side, side, 4) float32: premultiplied colour and opacity, in [0, 255]."""
SEPARATOR = "/"
ALONE_SHARE = 0.3  # of the inventions that are made of one picture
NEGATIVE_SHARE = 0.25  # of the parts whose colours are turned into their complements
INSET = 0.5  # side of what is put onto the middle of another, as a share


@dataclass(frozen=True)
class Invention:
    """What an invention is made of."""

    first: str
    second: str
    seed: int

    @property
    def key(self) -> str:
        """What scenes call it; no concept of the table is called so."""
        return SEPARATOR.join((self.first, self.second, str(self.seed)))

    @property
    def word(self) -> str:
        """What captions call it."""
        return made_up_word(np.random.default_rng([self.seed, 0]))


def invent(sources: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Invent things with different names.

    Args:
        sources: Concepts to make them of.
        count: How many, 0 or more.
        seed: Everything is drawn from it.

    Returns:
        Their keys.
    """
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        first, second = (sources[int(place)] for place in random.integers(len(sources), size=2))
        one = Invention(first, second, int(random.integers(1 << 31)))
        found.setdefault(one.word, one.key)
    return tuple(found.values())


def is_invented(name: str) -> bool:
    """Whether a name is an invention's key."""
    return SEPARATOR in name


def parse_invention(key: str) -> Invention:
    """Read a key.

    Raises:
        ValueError: It is none.
    """
    parts = key.split(SEPARATOR)
    if len(parts) != 3 or not parts[2].isdigit():
        raise ValueError(f"{key!r} is no invention; one looks like 'cat{SEPARATOR}pizza{SEPARATOR}17'")
    return Invention(parts[0], parts[1], int(parts[2]))


def concept_of(name: str) -> Concept:
    """Tell the grammar of a concept's name or of an invention's key.

    Raises:
        KeyError: There is no such concept.
        ValueError: The key is none.
    """
    if not is_invented(name):
        return concepts()[name]
    one = parse_invention(name)
    return Concept(one.word, one.word + "s", "", concepts()[one.first].category)


def paint(invention: Invention, tile_of: Callable[[str], Tile]) -> Tile:
    """Draw an invention.

    Args:
        invention: Which.
        tile_of: Gives a concept's picture; it is not changed.

    Returns:
        A picture of the same shape.
    """
    random = np.random.default_rng([invention.seed, 1])
    first, second = (_changed(random, tile_of(name)) for name in (invention.first, invention.second))
    if random.random() < ALONE_SHARE:
        return first
    side, (way, border) = len(first), (int(random.integers(3)), random.uniform(0.4, 0.6))
    cut = round(side * border)
    if way == 0:
        return np.concatenate([first[:cut], second[cut:]], axis=0)
    if way == 1:
        return np.concatenate([first[:, :cut], second[:, cut:]], axis=1)
    return _inset(first, second)


def _changed(random: np.random.Generator, tile: Tile) -> Tile:
    turned = np.rot90(tile, int(random.integers(4)))
    if random.random() < 0.5:
        turned = turned[:, ::-1]
    colour = turned[..., random.permutation(3)]
    if random.random() < NEGATIVE_SHARE:
        colour = turned[..., 3:] - colour
    return np.concatenate([colour, turned[..., 3:]], axis=2)


def _inset(ground: Tile, tile: Tile) -> Tile:
    step = round(1 / INSET)
    small = tile[::step, ::step]
    start = (len(ground) - len(small)) // 2
    result = ground.copy()
    window = result[start : start + len(small), start : start + len(small)]
    window *= 1 - small[..., 3:] / 255
    window += small
    return result
