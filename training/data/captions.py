"""The words for a scene, in several natural wordings."""

from __future__ import annotations

import numpy as np

from training.data.inventions import concept_of
from training.data.scene import PLACES, Composition, Group, Relation

COUNT_WORDS = {2: "two", 3: "three"}
RELATION_WORDINGS: dict[Relation, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
JOININGS = (" and ", " next to ", " with ", " beside ")
BACKGROUND_WORDINGS = (
    "on {a} background",
    "in front of {a} background",
    "on {colour}",
    "against {a} background",
)
OPENINGS = ("", "", "", "", "a picture of ", "a drawing of ", "an image of ")


def caption(random: np.random.Generator, composition: Composition) -> str:
    """Say what a composition shows.

    Args:
        random: Chooses among the wordings.
        composition: What to say.

    Returns:
        For example ``"two small cats left of a pizza on a blue background"``: every count and relation, the size where
        it is not medium, and the background or the place.
    """
    things = _join(random, composition)
    return f"{_choose(random, OPENINGS)}{things} {_ground(random, composition)}"


def describe(group: Group) -> str:
    """Say what a group is, for example ``"three big owls"`` or ``"an apple"``."""
    concept = concept_of(group.concept)
    size = "" if group.size == "medium" else f"{group.size} "
    if group.count > 1:
        return f"{COUNT_WORDS[group.count]} {size}{concept.plural}"
    return f"a {size}{concept.name}" if size else f"{concept.article} {concept.name}"


def _join(random: np.random.Generator, composition: Composition) -> str:
    phrases = [describe(group) for group in composition.groups]
    if composition.relation is not None:
        return f"{phrases[0]} {_choose(random, RELATION_WORDINGS[composition.relation])} {phrases[1]}"
    if len(phrases) == 2:
        return _choose(random, JOININGS).join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1] if len(phrases) > 2 else phrases[0]


def _ground(random: np.random.Generator, composition: Composition) -> str:
    if composition.place is not None:
        return PLACES[composition.place][0]
    colour = str(composition.background)
    article = "an" if colour[0] in "aeiou" else "a"
    return _choose(random, BACKGROUND_WORDINGS).format(colour=colour, a=f"{article} {colour}")


def _choose(random: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(random.integers(len(wordings)))]
