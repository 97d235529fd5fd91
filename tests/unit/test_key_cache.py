"""Keys of phrases are made once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime import key_cache
from ragturbo_runtime.arrays import Keys
from ragturbo_runtime.key_cache import KeyCache


class Encoder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, phrases: Sequence[str]) -> Keys:
        self.asked += phrases
        return np.array([[len(phrase), hash(phrase) % 97] for phrase in phrases], np.float32)


@given(st.lists(st.lists(st.text(max_size=3), max_size=6), max_size=8))
def test_every_key_is_the_encoders_and_is_made_once(calls: list[list[str]]) -> None:
    cache, encoder, fresh = KeyCache(), Encoder(), Encoder()
    for phrases in calls:
        got = cache.get(phrases, encoder)
        assert len(got) == len(phrases)
        for phrase, key in zip(phrases, got, strict=True):
            np.testing.assert_array_equal(key, fresh([phrase])[0])
    assert len(encoder.asked) == len(set(encoder.asked))


def test_the_oldest_make_room(monkeypatch) -> None:
    monkeypatch.setattr(key_cache, "LARGEST", 2)
    cache, encoder = KeyCache(), Encoder()
    for phrase in ("a", "b", "a", "c", "a", "b"):
        cache.get([phrase], encoder)
    assert encoder.asked == ["a", "b", "c", "b"]


def test_threads_may_ask_at_once() -> None:
    cache, encoder = KeyCache(), Encoder()
    phrases = [str(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cache.get(phrases, encoder), range(16)):
            assert [int(key[0]) for key in got] == [len(phrase) for phrase in phrases]
