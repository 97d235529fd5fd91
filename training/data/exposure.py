"""How many pictures of a split show a concept: what "often" and "seldom" are in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.compose import ARRANGEMENTS, LIBRARY_ARRANGEMENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.world import Split, World


def expected_pictures(world: World, count: int, split: Split = "train") -> dict[str, float]:
    """Say how many of some scenes show each concept, on average.

    Which compositions a split may show is decided by a hash of them, so it changes nothing here.

    Args:
        world: Its concepts and how often each is drawn.
        count: Scenes, 0 or more.
        split: Whose scenes.

    Returns:
        Concept -> expected number of scenes that show it at least once, in [0, count].
    """
    arrangements = LIBRARY_ARRANGEMENTS if split == "library" else ARRANGEMENTS
    chances = np.zeros(len(world.names))
    shown = _chance_to_be_chosen(world.weights(split))
    for counts, chance in arrangements:
        chances += chance * shown[len(counts) - 1]
    return dict(zip(world.names, (count * chances).tolist(), strict=True))


def _chance_to_be_chosen(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The chance of each to be among one, two and three that are chosen one after another, none of them twice.

    The i-th is second after j with w_j * w_i / (1 - w_j), and third after j and k with w_j * w_k / (1 - w_j) *
    w_i / (1 - w_j - w_k): successive sampling, as `compose` does it.
    """
    one = weights
    after = weights / (1 - weights)
    two = one + weights * (after.sum() - after)
    left = 1 - weights[:, None] - weights[None, :]
    np.fill_diagonal(left, 1.0)
    pairs = after[:, None] * weights[None, :] / left
    np.fill_diagonal(pairs, 0.0)
    three = two + weights * (pairs.sum() - pairs.sum(axis=0) - pairs.sum(axis=1))
    return one, two, three
