"""The things that an adapter is lent to learn on, and that its base never saw by name: concepts and inventions."""

from __future__ import annotations

from training.data.inventions import concept_of, invent
from training.data.world import World
from training.ladd.config import RealConfig
from training.ladd.masking import Masker

INVENTION_SEED = 0


def inventions_of(config: RealConfig, world: World) -> tuple[str, ...]:
    """The keys of a run's invented things; the library-only concepts and those that stay new have no part in them."""
    return invent(world.common + world.lent, config.inventions, INVENTION_SEED)


def strangers_of(config: RealConfig, world: World) -> tuple[str, ...]:
    """Names and keys of all that a run's real pairs lend; empty without real pairs."""
    return world.lent + inventions_of(config, world) if config.scenes else ()


def masker_of(world: World, strangers: tuple[str, ...] = ()) -> Masker:
    """Find and replace the names of a world's things, and of those that are lent to adapters.

    Args:
        world: The family's.
        strangers: From `strangers_of`; all that could be lent without inventions is always in.
    """
    every = map(concept_of, dict.fromkeys((*world.names, *world.lent, *strangers)))
    return Masker({one.name: one.plural for one in every})
