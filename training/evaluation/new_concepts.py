"""New concepts without training: pictures of a thing that nobody knows are put into the library under a name of theirs.

The benchmark takes concepts that no training has shown (`World.lent` leaves them out), gives each a made-up name and
up to five pictures, and draws prompts with that name: without references, with the pictures of another new concept
under the same name, and with one, three and five pictures of its own. A judge that knows the concepts looks for them.

`training.evaluation.new_concepts_run` draws and scores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.data.captions import caption
from training.data.compose import compose
from training.data.concepts import concepts
from training.data.layout import lay_out
from training.data.scene import Composition, Scene
from training.data.splits import split_of
from training.data.words import made_up_word
from training.data.world import Split, World
from training.ladd.masking import Masker

CONCEPTS = 40
PICTURES = 5
"""Library pictures of a concept, each with the thing alone."""
PROMPTS = 10
"""Prompts of a concept; in half of them something common stands beside it."""
_ALONE: tuple[tuple[tuple[int, ...], float], ...] = (((1,), 1.0),)
_EITHER: tuple[tuple[tuple[int, ...], float], ...] = (((1,), 0.5), ((1, 1), 0.5))


@dataclass(frozen=True)
class NewConcept:
    """One concept under a name that nobody knows."""

    name: str
    """What the judge calls it."""
    word: str
    """What captions call it."""
    pictures: tuple[Scene, ...]
    """For the library; their captions hold the word."""
    prompts: tuple[Scene, ...]
    """What is asked for; their captions hold the word."""


def new_names(world: World, count: int = CONCEPTS) -> tuple[str, ...]:
    """Choose concepts that no training of a family has shown, nor lent, always the same ones.

    Raises:
        ValueError: There are fewer.
    """
    lent = set(world.lent)
    free = [name for name in world.unseen if name not in lent]
    if len(free) < count:
        raise ValueError(
            f"{len(free)} concepts are new to every training, {count} are asked for; ask for fewer"
        )
    return tuple(sorted(free, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])


def judge_world(world: World) -> World:
    """What the benchmark's judge must know: the family's concepts and the new ones."""
    return replace(world, library_only=world.library_only + new_names(world))


def make_concepts(
    world: World, *, count: int = CONCEPTS, prompts: int = PROMPTS, split: Split = "benchmark"
) -> tuple[NewConcept, ...]:
    """Draw the benchmark, always the same.

    Args:
        world: The family's.
        count: New concepts.
        prompts: Prompts of each.
        split: Which split's compositions the prompts are; the pictures are the library's. So both are disjoint.
    """
    random = np.random.default_rng([world.seed, 40])
    made: dict[str, NewConcept] = {}
    for place, name in enumerate(new_names(world, count)):
        while (word := made_up_word(random)) in made:
            pass
        own = np.random.default_rng([world.seed, 41, place, _SPLIT_SEEDS[split]])
        shown = np.random.default_rng([world.seed, 42, place])
        made[word] = NewConcept(
            name, word,
            tuple(_scene(shown, world, name, word, "library", index) for index in range(PICTURES)),
            tuple(_scene(own, world, name, word, split, index) for index in range(prompts)),
        )  # fmt: skip
    return tuple(made.values())


_SPLIT_SEEDS: dict[Split, int] = {"train": 0, "library": 1, "benchmark": 2, "validation": 3}


def concept_prompts(
    world: World, name: str, *, count: int = PROMPTS, split: Split = "benchmark"
) -> tuple[Scene, ...]:
    """Prompts of the same kind for a concept of the family, under its own name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    random = np.random.default_rng([world.seed, 43, seed, _SPLIT_SEEDS[split]])
    return tuple(_scene(random, world, name, name, split, index) for index in range(count))


def _scene(
    random: np.random.Generator, world: World, name: str, word: str, split: Split, index: int
) -> Scene:
    """One thing of a name, alone in the library, perhaps beside a common one in a prompt."""
    composition = _compose(random, (name, *world.common), split)
    while split_of(composition) != split:
        composition = _compose(random, (name, *world.common), split)
    masker = Masker({name: concepts()[name].plural})
    words = masker.mask(caption(random, composition), {name: word})
    return Scene(split, index, composition, lay_out(random, composition), words)


def _compose(random: np.random.Generator, names: tuple[str, ...], split: Split) -> Composition:
    """The first name, and what else the arrangement asks for."""
    others = np.cumsum([0.0] + [1 / (len(names) - 1)] * (len(names) - 1))
    composition = compose(random, names, others, _ALONE if split == "library" else _EITHER)
    first, *rest = composition.groups
    return replace(composition, groups=(replace(first, concept=names[0]), *rest))


def swapped(made: Sequence[NewConcept]) -> tuple[NewConcept, ...]:
    """Each concept with the pictures of the next one, under its own name: wrong references."""
    result = []
    for one, other in zip(made, (*made[1:], made[0]), strict=True):
        pictures = tuple(
            replace(scene, caption=scene.caption.replace(other.word, one.word)) for scene in other.pictures
        )
        result.append(replace(one, pictures=pictures))
    return tuple(result)
