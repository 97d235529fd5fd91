"""The questions ask what the scene answers, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.concepts import concepts
from training.data.scene import Composition, Group, Placed, Scene
from training.data.splits import scene, scenes
from training.data.tifa import questions
from training.data.world import World
from training.evaluation.answers import answer, concept_named
from training.evaluation.reading import Detection, Reading, reading_of
from training.family.config import read_family_config

WORLD = read_family_config(Path(__file__).parents[2] / "training" / "configs" / "emoji.toml").world
# Every concept there is: names of several words, plurals equal to the singular, people.
WHOLE_WORLD = World(common=tuple(concepts()), rare=(), library_only=())
BLIND = Reading((), {}, {})

SCENES = st.builds(
    lambda world, split, index: (world, scene(world, split, index)),
    st.sampled_from([WORLD, WHOLE_WORLD]),
    st.sampled_from(["benchmark", "validation", "library", "train"]),
    st.integers(0, 100_000),
)


def share_right(asked: Scene, world: World, reading: Reading) -> float:
    listed = questions(asked, world.names)
    return mean(answer(one.question, one.choices, reading) == one.answer for one in listed)


@given(SCENES)
def test_whoever_sees_the_scene_answers_everything(drawn: tuple[World, Scene]) -> None:
    world, asked = drawn
    assert share_right(asked, world, reading_of(asked)) == 1.0


def test_whoever_sees_nothing_answers_little() -> None:
    asked = scenes(WORLD, "benchmark", 300)
    assert mean(share_right(one, WORLD, BLIND) for one in asked) < 0.3


def test_another_scenes_picture_scores_little() -> None:
    asked = scenes(WORLD, "benchmark", 300)
    others = [reading_of(one) for one in asked[1:] + asked[:1]]
    assert mean(share_right(one, WORLD, seen) for one, seen in zip(asked, others, strict=True)) < 0.35


@given(SCENES)
def test_questions_are_well_formed(drawn: tuple[World, Scene]) -> None:
    world, asked = drawn
    listed = questions(asked, world.names)
    assert listed == questions(asked, world.names)
    assert len({one.question for one in listed}) == len(listed)  # TIFA logs by wording
    for one in listed:
        assert one.answer in one.choices
        assert len(set(one.choices)) == len(one.choices)
        assert one.choices == ("yes", "no") or len(one.choices) in (2, 4)


@given(SCENES)
def test_wrong_choices_are_of_the_same_category_and_not_in_the_picture(drawn: tuple[World, Scene]) -> None:
    world, asked = drawn
    about_things = [
        one
        for one in questions(asked, world.names)
        if one.question.startswith("what") and one.element_type != "color"
    ]
    assert about_things
    for one in about_things:
        assert len(one.choices) == 4
        right = concept_named(one.answer)
        wrong = [concept_named(choice) for choice in one.choices if choice != one.answer]
        assert not set(wrong) & set(asked.concepts)
        assert {concepts()[name].category for name in wrong} == {concepts()[right].category}


def test_everything_that_a_caption_says_is_asked() -> None:
    groups = (Group("cat", 2, "small"), Group("pizza", 1, "medium"))
    placed = (Placed("cat", 0.2, 0.3, 0.3), Placed("cat", 0.2, 0.7, 0.3), Placed("pizza", 0.7, 0.5, 0.37))
    composition = Composition(groups, "blue", None, "left of")
    asked = questions(Scene("benchmark", 1, composition, placed, "two small cats ..."), WORLD.names)
    assert [(one.question, one.answer, one.element_type, one.element) for one in asked] == [
        ("are there cats?", "yes", "animal/human", "cats"),
        ("what animals are in the picture?", "cats", "animal/human", "cats"),
        ("are there two cats?", "yes", "counting", "two"),
        ("how many cats are there?", "2", "counting", "two"),
        ("are the cats small?", "yes", "attribute", "small"),
        ("are the cats big or small?", "small", "attribute", "small"),
        ("is there a pizza?", "yes", "food", "pizza"),
        ("what food is in the picture?", "pizza", "food", "pizza"),
        ("is the background blue?", "yes", "color", "blue"),
        ("what is the color of the background?", "blue", "color", "blue"),
        ("are the cats to the left of the pizza?", "yes", "spatial", "left of"),
        ("what are to the left of the pizza?", "cats", "spatial", "left of"),
    ]


def test_negatives_are_few_and_every_kind_of_them_occurs() -> None:
    listed = [one for asked in scenes(WORLD, "benchmark", 400) for one in questions(asked, WORLD.names)]
    answers = Counter(one.answer for one in listed if one.choices == ("yes", "no"))
    assert answers["no"] == 200  # one in every second scene
    assert 0.05 < answers["no"] / (answers["yes"] + answers["no"]) < 0.2
    kinds = {one.element_type for one in listed if one.answer == "no"}
    assert kinds == {"animal/human", "food", "object", "color", "location", "spatial", "counting"}


def test_a_family_of_too_few_concepts_is_refused() -> None:
    asked = scenes(WORLD, "benchmark", 1)[0]
    with pytest.raises(ValueError, match="name more concepts"):
        questions(asked, asked.concepts)


class TestAnswers:
    """The answerer sees the question, its choices and the picture."""

    two_cats = Reading(
        (
            Detection("cat", 0.2, 0.5, 0.3, 0.9),
            Detection("cat", 0.6, 0.5, 0.3, 0.8),
            Detection("crown", 0.9, 0.5, 0.3, 0.7),
        ),
        {"cat": 0.9, "crown": 0.7, "dog": 0.3},
        {"blue": 0.6, "beach": 0.4},
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("question", "choices", "expected"),
        [
            ("is there a cat?", ("yes", "no"), "yes"),
            ("is there a dog?", ("yes", "no"), "no"),  # some evidence, but below the threshold: not detected
            ("are there two cats?", ("yes", "no"), "yes"),
            ("are there three cats?", ("yes", "no"), "no"),
            ("how many cats are there?", ("1", "2", "3", "4"), "2"),
            ("what animal is in the picture?", ("dog", "cow", "fox", "owl"), "dog"),
            ("is the background blue?", ("yes", "no"), "yes"),
            ("where is the scene?", ("in the snow", "at the beach"), "at the beach"),
            ("is the scene at the beach?", ("yes", "no"), "no"),
            ("are the cats to the left of the crown?", ("yes", "no"), "yes"),
            ("is the crown above the cats?", ("yes", "no"), "no"),
            ("what are to the left of the crown?", ("dogs", "cats"), "cats"),
            (
                "what is to the right of the crown?",
                ("dog", "cat"),
                "cat",
            ),  # none stands there: the likeliest anywhere
            ("is the dog small?", ("yes", "no"), "no"),  # what is not there is not small
        ],
    )
    def test_answer(self, question: str, choices: tuple[str, ...], expected: str) -> None:
        assert answer(question, choices, self.two_cats) == expected

    def test_free_english_is_refused(self) -> None:
        with pytest.raises(ValueError, match="use a VQA model"):
            answer("who is carrying the board?", ("surfer", "swimmer"), self.two_cats)

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(ValueError, match="'zeppelin' is no concept"):
            answer("is there a zeppelin?", ("yes", "no"), self.two_cats)

    def test_a_yes_no_question_needs_yes_and_no(self) -> None:
        with pytest.raises(ValueError, match="wants yes or no"):
            answer("is there a cat?", ("cat", "dog"), self.two_cats)

    def test_no_choices(self) -> None:
        with pytest.raises(ValueError, match="has no choices"):
            answer("is there a cat?", (), self.two_cats)

    @given(SCENES)
    def test_the_right_answer_is_not_peeked_at(self, drawn: tuple[World, Scene]) -> None:
        """A scene with a group gone loses exactly the questions that need it."""
        world, asked = drawn
        gone = asked.groups[0].concept
        rest = replace(asked, placed=tuple(p for p in asked.placed if p.concept != gone))
        plain = [
            one
            for one in questions(asked, world.names)
            if one.question.startswith(("is there a", "are there"))
        ]
        for one in plain:
            is_about_it = gone in (one.element, concepts_named(one.element)) and one.answer == "yes"
            if is_about_it:
                assert answer(one.question, one.choices, reading_of(rest)) == "no"


def concepts_named(words: str) -> str:
    return next((name for name, concept in concepts().items() if words in (name, concept.plural)), "")
