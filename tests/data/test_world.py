"""A world's config: what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from training.data.concepts import concepts
from training.data.splits import scenes
from training.data.world import SPLITS, World, parse_world


def test_names_that_are_no_concepts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown concepts \['warp drive'\]"):
        World(common=("cat", "warp drive"), rare=(), library_only=())


def test_a_name_in_two_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        World(common=("cat",), rare=("cat",), library_only=())


TABLE: dict[str, object] = {"common": ["cat", "dog", "bus"], "rare": [], "library_only": []}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**TABLE, "rares": []}, r"x\.toml \[world\]: unknown keys \['rares'\]"),
        ({"common": ["cat", "dog", "bus"]}, r"x\.toml \[world\]: missing keys \['rare', 'library_only'\]"),
        ({**TABLE, "common": "cat"}, r"\[world\] common: is 'cat' \(str\); allowed is a list of str"),
        ({**TABLE, "common": ["cat", 3]}, r"\[world\] common: is 3 \(int\); allowed is str"),
        ({**TABLE, "rare_factor": "x"}, r"\[world\] rare_factor: is 'x' \(str\)"),
        ({**TABLE, "rare_factor": 0.0}, r"\[world\]: rare_factor is 0\.0; it must be over 0 and at most 1"),
        ({**TABLE, "rare_factor": 1.5}, r"rare_factor is 1\.5; it must be over 0 and at most 1"),
        ({**TABLE, "seed": -1}, r"\[world\]: seed is -1; it must be 0 or more"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_world(table, "x.toml [world]")


@pytest.mark.parametrize("names", [(), ("cat",), ("cat", "dog")])
def test_a_world_that_no_scene_of_three_kinds_can_be_drawn_from_is_refused(names: tuple[str, ...]) -> None:
    """It would be drawn from for ever: library-only names have no chance in training."""
    with pytest.raises(
        ValueError, match=f"common and rare name {len(names)} concepts; a scene shows up to 3 kinds"
    ):
        World(common=names, rare=(), library_only=("fox", "owl"))


def test_three_names_are_enough_for_every_split() -> None:
    world = World(common=("cat", "dog"), rare=("owl",), library_only=(), rare_factor=1.0)
    for split in SPLITS:
        kinds = 2 if split == "library" else 3  # the library shows most things alone
        assert max(len(shown.concepts) for shown in scenes(world, split, 250)) == kinds


def test_a_world_reads_back_as_itself() -> None:
    world = World(common=("cat", "dog"), rare=("owl",), library_only=("fox",), rare_factor=0.25, seed=3)
    again = parse_world(json.loads(json.dumps(asdict(world))))
    assert again == world
    assert again.digest == world.digest
    assert replace(world, seed=4).digest != world.digest


def test_chances_sum_to_one_and_what_is_not_drawn_stays_unseen() -> None:
    world = World(common=("cat", "dog"), rare=("owl",), library_only=("fox",))
    for split in SPLITS:
        assert np.isclose(world.weights(split).sum(), 1.0)
    assert set(world.unseen) == set(concepts()) - set(world.names)
    assert world.frequency("owl") == "rare"


def test_most_of_what_the_base_never_draws_is_lent_to_adapters_and_the_rest_stays_new() -> None:
    world = World(common=("cat", "dog", "bus"), rare=(), library_only=("fox",))
    assert set(world.lent) < set(world.unseen)
    assert len(set(world.unseen) - set(world.lent)) >= 60
    more = World(common=("cat", "dog", "bus", "owl"), rare=(), library_only=("fox",))
    assert set(more.lent) == set(world.lent) - {"owl"}
