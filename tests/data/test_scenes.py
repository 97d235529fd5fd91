"""What is drawn is what the caption says."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.captions import describe
from training.data.concepts import concepts
from training.data.glyphs import TILE, glyph
from training.data.render import draw, draw_batch
from training.data.scene import BACKGROUNDS, PLACES, Scene
from training.data.splits import scene, scenes
from training.data.world import SPLITS, World

WORLD = World(common=tuple(list(concepts())[:60]), rare=("pizza",), library_only=("castle",))

drawn_scenes = st.builds(
    lambda split, index: scene(WORLD, split, index), st.sampled_from(SPLITS), st.integers(0, 10**9)
)


@settings(max_examples=200, deadline=None)
@given(drawn_scenes)
def test_the_caption_names_every_group_the_relation_and_the_ground(shown: Scene) -> None:
    for group in shown.groups:
        assert describe(group) in shown.caption
    ground = str(shown.background) if shown.place is None else PLACES[shown.place][0]
    assert ground in shown.caption


def test_over_a_thousand_scenes_a_second() -> None:
    """Composed and drawn, in processor time, once the glyphs are scaled: no training waits for its pictures."""
    draw_batch(scenes(WORLD, "train", 300), 64)
    before = time.process_time()
    draw_batch(scenes(WORLD, "train", 300), 64)
    assert 300 / (time.process_time() - before) > 1000


@settings(max_examples=200, deadline=None)
@given(drawn_scenes)
def test_every_thing_is_inside_the_picture_and_apart_from_the_others(shown: Scene) -> None:
    assert len(shown.placed) == sum(group.count for group in shown.groups) <= 3
    for thing in shown.placed:
        half = thing.size / 2
        assert half <= thing.x <= 1 - half
        assert half <= thing.y <= 1 - half
    for first in range(len(shown.placed)):
        for second in range(first):
            a, b = shown.placed[first], shown.placed[second]
            assert max(abs(a.x - b.x), abs(a.y - b.y)) > 0.44 * (a.size + b.size)


@settings(max_examples=300, deadline=None)
@given(drawn_scenes)
def test_a_relation_that_is_said_holds_for_every_pair(shown: Scene) -> None:
    if shown.relation is None:
        return
    border = shown.groups[0].count
    for first in shown.placed[:border]:
        for second in shown.placed[border:]:
            distance = {
                "left of": second.x - first.x,
                "right of": first.x - second.x,
                "above": second.y - first.y,
                "below": first.y - second.y,
            }[shown.relation]
            assert distance > 0


def test_the_picture_shows_ground_and_things() -> None:
    for shown in scenes(WORLD, "train", 60):
        picture = draw(shown, 64).astype(int)
        grounds = [BACKGROUNDS[shown.background]] if shown.background else PLACES[str(shown.place)][1:3]
        is_ground = np.any(
            [np.abs(picture - np.asarray(ground)).max(axis=2) == 0 for ground in grounds], axis=0
        )
        assert 0 < is_ground.mean() < 1


def test_a_batch_is_what_training_wants() -> None:
    batch = draw_batch(scenes(WORLD, "train", 3), 32)
    assert batch.shape == (3, 3, 32, 32)
    assert batch.dtype == np.float32
    assert batch.min() >= -1
    assert batch.max() <= 1


def test_every_concept_has_a_glyph_and_an_article() -> None:
    assert len(concepts()) > 400
    for name, concept in concepts().items():
        colour, through = glyph(name, 24)
        assert colour.shape == (24, 24, 3)
        assert through.min() < 0.1, f"{name} is nowhere opaque"
        assert len(concept.emoji) == 1
        assert concept.article in ("a", "an")
    assert len({c.emoji for c in concepts().values()}) == len(concepts())
    assert TILE == 128


def test_articles_go_by_sound() -> None:
    articles = {
        name: concepts()[name].article for name in ("unicorn", "umbrella", "owl", "cat", "hibiscus flower")
    }
    assert articles == {"unicorn": "a", "umbrella": "an", "owl": "an", "cat": "a", "hibiscus flower": "a"}
