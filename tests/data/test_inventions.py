"""Invented things: any number of them, each with a picture and a name of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.captions import caption
from training.data.concepts import concepts
from training.data.glyphs import glyph
from training.data.inventions import concept_of, invent, is_invented, paint, parse_invention
from training.data.render import draw
from training.data.scene import Composition, Group, Placed, Scene

SOURCES = ("cat", "dog", "pizza")


def test_inventions_are_the_same_each_time_and_have_different_names() -> None:
    keys = invent(SOURCES, 500, seed=3)
    assert keys == invent(SOURCES, 500, seed=3)
    assert keys[:100] == invent(SOURCES, 100, seed=3)
    assert len({concept_of(key).name for key in keys}) == 500
    assert not {concept_of(key).name for key in keys} & set(concepts())
    assert all(is_invented(key) and set(key.split("/")[:2]) <= set(SOURCES) for key in keys)


def test_inventions_look_different_from_their_sources_and_each_other() -> None:
    keys = invent(SOURCES, 60, seed=0)
    pictures = [glyph(name, 24)[0] for name in (*keys, *SOURCES)]
    same = [
        (first, second)
        for first in range(len(pictures))
        for second in range(first)
        if np.abs(pictures[first] - pictures[second]).mean() < 1
    ]
    assert len(same) <= 2, "three pictures, eight turns, six orders of colours: few fall together"


@given(seed=st.integers(0, 2**31 - 1), names=st.tuples(*[st.sampled_from(SOURCES)] * 2))
@settings(max_examples=50, deadline=None)
def test_a_picture_stays_a_picture(seed: int, names: tuple[str, str]) -> None:
    colour, ground = glyph("/".join((*names, str(seed))), 31)
    assert colour.shape == (31, 31, 3)
    assert ground.min() >= 0
    assert ground.max() <= 1
    assert colour.min() >= -1e-3
    assert (colour <= 255 * (1 - ground) + 1e-2).all(), "premultiplied: no colour without opacity"
    assert (ground < 0.5).mean() > 0.05, "there is something to see"


def test_painting_leaves_the_sources_alone() -> None:
    tile = np.random.default_rng(0).random((16, 16, 4)).astype(np.float32) * 255
    before = tile.copy()
    for seed in range(20):
        paint(parse_invention(f"cat/dog/{seed}"), lambda name: tile)
    assert np.array_equal(tile, before)


@pytest.mark.parametrize("key", ["cat/dog", "cat/dog/x", "cat/dog/1/2", "/"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no invention; one looks like 'cat/pizza/17'"):
        parse_invention(key)


def test_scenes_show_inventions_under_their_words() -> None:
    key = invent(SOURCES, 1, seed=0)[0]
    composition = Composition((Group(key, 2, "medium"),), "white", None, None)
    words = caption(np.random.default_rng(0), composition)
    assert f"two {concept_of(key).name}s" in words
    placed = (Placed(key, 0.3, 0.5, 0.4), Placed(key, 0.7, 0.5, 0.4))
    assert np.unique(draw(Scene("train", 0, composition, placed, words))).size > 20
