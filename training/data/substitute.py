"""Puts other things in the places of a scene's things: the same layout, ground and sizes, another content.

An adapter that has only seen what its base can draw learns to tell those things apart, not to look at a reference.
Scenes with substitutes show it hundreds of things of which the base knows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.data.captions import caption
from training.data.scene import Composition, Scene

SHARE = 0.5
"""The chance of each further group, after the first, to be replaced too."""


def substitute(random: np.random.Generator, scene: Scene, names: Sequence[str]) -> Scene:
    """Replace the things of one group at least.

    Args:
        random: Which groups, by what, and the wording of the new caption.
        scene: What is changed; its layout stays.
        names: What to choose from.

    Returns:
        The scene with another composition, caption and content of its places. It may belong to another split.

    Raises:
        ValueError: The scene shows all of the names already.
    """
    free = [name for name in names if name not in scene.concepts]
    if not free:
        raise ValueError(f"none of {len(names)} names is new to the scene {scene.caption!r}; give more names")
    replaced = random.random(len(scene.groups)) < SHARE
    replaced[int(random.integers(len(scene.groups)))] = True
    old = [group.concept for group, is_replaced in zip(scene.groups, replaced, strict=True) if is_replaced]
    chosen = random.permutation(len(free))[: len(old)].tolist()
    others = {name: free[place] for name, place in zip(old, chosen, strict=False)}
    composition = _with(scene.composition, others)
    placed = tuple(replace(one, concept=others.get(one.concept, one.concept)) for one in scene.placed)
    return replace(scene, composition=composition, placed=placed, caption=caption(random, composition))


def _with(composition: Composition, others: dict[str, str]) -> Composition:
    groups = tuple(
        replace(group, concept=others.get(group.concept, group.concept)) for group in composition.groups
    )
    return replace(composition, groups=groups)
