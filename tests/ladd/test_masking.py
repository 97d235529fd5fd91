"""Made-up names: one word per thing, in the prompt and in the captions of its references alike."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.concepts import concepts
from training.data.words import made_up_word
from training.ladd.masking import Masker

MASKER = Masker(
    {"owl": "owls", "bear": "bears", "teddy bear": "teddy bears", "mouse": "mice", "sheep": "sheep"}
)


@pytest.mark.parametrize(
    ("caption", "names"),
    [
        ("two small mice left of an owl at night", ("mouse", "owl")),
        ("a teddy bear and a bear on red", ("teddy bear", "bear")),
        ("an owl, an owl and owls", ("owl",)),
        ("a bowl of bearings", ()),
        ("TWO OWLS", ("owl",)),
    ],
)
def test_names_are_found_as_words(caption: str, names: tuple[str, ...]) -> None:
    assert MASKER.found(caption) == names


def test_the_same_word_everywhere_singular_and_plural() -> None:
    words = {"mouse": "blidock", "owl": "snavix"}
    assert MASKER.mask("two small mice left of an owl at night", words) == (
        "two small blidocks left of a snavix at night"
    )
    assert (
        MASKER.mask("a picture of a mouse with three owls", words)
        == "a picture of a blidock with three snavixs"
    )


def test_other_names_stay() -> None:
    assert MASKER.mask("a teddy bear beside a bear", {"bear": "gromul"}) == "a teddy bear beside a gromul"
    assert MASKER.mask("a bear on blue", {"owl": "snavix"}) == "a bear on blue"


def test_a_choice_masks_at_least_one_of_the_names_with_words_of_their_own() -> None:
    random = np.random.default_rng(0)
    chosen = [MASKER.choose("a mouse, an owl and a teddy bear in the snow", random) for _ in range(200)]
    assert {len(words) for words in chosen} == {1, 2, 3}
    assert all(set(words) <= {"mouse", "owl", "teddy bear"} for words in chosen)
    assert all(len(set(words.values())) == len(words) for words in chosen)
    assert MASKER.choose("nothing of the kind", random) == {}


def test_made_up_words_are_no_concepts_and_seldom_repeat() -> None:
    random = np.random.default_rng(1)
    words = [made_up_word(random) for _ in range(2000)]
    known = {word for concept in concepts().values() for word in (concept.name, concept.plural)}
    assert not known & set(words)
    assert len(set(words)) > 1950
    assert all(word.isascii() and word.isalpha() and word[0] not in "aeiou" for word in words)


def test_every_concept_is_found_by_both_of_its_forms() -> None:
    masker = Masker({concept.name: concept.plural for concept in concepts().values()})
    for concept in concepts().values():
        assert masker.found(f"two small {concept.plural} on red") == (concept.name,)
        assert masker.found(f"{concept.article} {concept.name} at night") == (concept.name,)


def test_no_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no name to mask"):
        Masker({})


@given(
    names=st.sets(
        st.text("bcd ", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=12
    )
)
def test_the_longest_name_is_found_wherever_an_alternation_would_find_it(names: set[str]) -> None:
    masker = Masker({name: name + "s" for name in names})
    every = sorted({*names, *(name + "s" for name in names)}, key=len, reverse=True)
    plain = re.compile(rf"\b(?:{'|'.join(map(re.escape, every))})\b")
    for caption in (" ".join(sorted(names)), "d bcd, bcd cd and two cs", "bc b c d"):
        expected = [match[0] for match in plain.finditer(caption)]
        assert [match["name"] for match in masker._pattern.finditer(caption)] == expected


def test_thousands_of_names_cost_no_time() -> None:
    random = np.random.default_rng(1)
    masker = Masker({word: word + "s" for word in {made_up_word(random) for _ in range(5000)}})
    caption = "a big cat beside two small dogs on a purple background"
    started = time.process_time()
    for _ in range(1000):
        masker.found(caption)
    assert time.process_time() - started < 0.5, "some 10 microseconds each; one by one it was 2 milliseconds"
