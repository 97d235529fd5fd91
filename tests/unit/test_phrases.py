"""Object phrases of prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime.phrases import MAX_PHRASES, split_phrases

CASES = {
    "a red bus left of two cats on a blue background": ["a red bus", "two cats"],
    "a cat to the right of two pizzas against a red background": ["a cat", "two pizzas"],
    "a big dog at the beach": ["a big dog"],
    "three small cherries and a hat in the snow": ["three small cherries", "a hat"],
    "a sailboat beside a castle": ["a sailboat", "a castle"],
    "A photo of a cat wearing a hat": ["a cat", "a hat"],
    "a drawing of two owls over three keys on light blue": ["two owls", "three keys"],
    "an oil painting of a lighthouse on the coast with three sailboats": ["a lighthouse", "three sailboats"],
    "There are two dogs sitting on a red couch, looking at a bird.": ["two dogs", "a red couch", "a bird"],
    "a cat on the left and a dog on the right": ["a cat", "a dog"],
    "a cat on a red background left of a dog": ["a cat", "a dog"],
    "cats and dogs": ["cats", "dogs"],
    "red car, blue truck; green bike": ["red car", "blue truck", "green bike"],
    "2 cats and 3 dogs": ["2 cats", "3 dogs"],
    # One thing stays one thing.
    "a black and white cat": ["a black and white cat"],
    "a bunch of grapes next to a slice of pizza": ["a bunch of grapes", "a slice of pizza"],
    "a flying saucer above two smiling cats": ["a flying saucer", "two smiling cats"],
    "a man playing football": ["a man playing football"],
    "a glass of water over ice": ["a glass of water over ice"],
    # Settings are left out, objects in places are not.
    "a cat at night": ["a cat"],
    "a fish under water": ["a fish"],
    "a cat in a hat": ["a cat", "a hat"],
    # Nothing to look for.
    "": [],
    " ... ": [],
    "a": [],
    "on a blue background": [],
    # A word that the rules do not know passes.
    "zorblax": ["zorblax"],
    "a zorblax below two wugs": ["a zorblax", "two wugs"],
    "the cat and the cat": ["the cat"],
}


@pytest.mark.parametrize(("prompt", "phrases"), CASES.items(), ids=range(len(CASES)))
def test_phrases(prompt: str, phrases: list[str]) -> None:
    assert split_phrases(prompt) == phrases


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from("a the cat in on and of left background , two".split())).map(" ".join)
)
def test_any_text_gives_clean_phrases_that_occur_in_it(prompt: str) -> None:
    phrases = split_phrases(prompt)
    lowered = " ".join(prompt.lower().split())
    assert len(phrases) <= MAX_PHRASES
    assert len(set(phrases)) == len(phrases)
    for phrase in phrases:
        assert phrase
        assert phrase == phrase.strip()
        assert phrase in lowered


def test_an_endless_prompt_gives_a_few_phrases() -> None:
    assert len(split_phrases(", ".join(f"a thing{i}" for i in range(5_000)))) == MAX_PHRASES
