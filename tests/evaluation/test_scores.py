"""Scores against numbers worked out by hand, and against TIFA's own sample."""

from __future__ import annotations

import pytest

from training.data.scene import Composition, Group, Placed, Scene
from training.data.tifa import Question
from training.evaluation.reading import Detection, Reading
from training.evaluation.scores import score_row, tifa_result


def question(caption: str, words: str, answer: str, kind: str) -> Question:
    return Question(caption, f"caption {caption}", words, ("yes", "no"), answer, kind, "element")


# The element types of the eleven and eight questions of TIFA's sample_question_answers.json, in its order.
SURFER = (
    "animal/human animal/human object location location activity activity color color color color".split()
)
CATS = "animal/human animal/human object object activity counting counting counting".split()


def test_tifas_own_sample_gives_tifas_own_numbers() -> None:
    """sample_evaluation_result.json: of drawbench_52, the dogs and two of three countings are wrong."""
    asked = [question("coco_301091", f"q{i}?", "yes", kind) for i, kind in enumerate(SURFER)]
    asked += [question("drawbench_52", f"q{i}?", "yes", kind) for i, kind in enumerate(CATS)]
    wrong = {len(SURFER) + i for i in (1, 6, 7)}
    result = tifa_result(asked, ["no" if i in wrong else "yes" for i in range(len(asked))])
    assert result["tifa_average"] == 0.8125
    assert result["tifa_stdev"] == pytest.approx(0.2651650429449553)
    assert result["accuracy_by_type"] == {
        "animal/human": 0.75,
        "object": 1,
        "location": 1,
        "activity": 1,
        "color": 1,
        "counting": pytest.approx(1 / 3),
    }
    assert result["caption_scores"] == {"coco_301091": 1, "drawbench_52": 0.625}


def test_log_has_the_shape_of_tifas_evaluation_results() -> None:
    result = tifa_result([question("a", "is it?", "yes", "object")], ["no"])
    assert list(result) == [
        "tifa_average",
        "tifa_stdev",
        "accuracy_by_type",
        "question_details",
        "caption_scores",
    ]
    logged = result["question_details"]["a"]["is it?"]
    assert logged["answer"] == "yes"
    assert (logged["free_form_vqa"], logged["multiple_choice_vqa"], logged["scores"]) == ("no", "no", 0)


def test_mean_over_captions_is_macro_and_a_repeated_question_counts_twice_but_is_logged_once() -> None:
    asked = [question("a", "same?", "yes", "object"), question("a", "same?", "yes", "object")]
    asked += [question("b", "other?", "yes", "color")]
    result = tifa_result(asked, ["yes", "no", "yes"])
    assert result["tifa_average"] == pytest.approx((0.5 + 1) / 2)
    assert result["accuracy_by_type"] == {"object": 0.5, "color": 1}
    assert len(result["question_details"]["a"]) == 1


@pytest.mark.parametrize("answers", [[], ["yes", "yes"]])
def test_one_answer_per_question(answers: list[str]) -> None:
    with pytest.raises(ValueError, match="one answer per question"):
        tifa_result([question("a", "is it?", "yes", "object")], answers)


def scene_of(*names: str) -> Scene:
    groups = tuple(Group(name, 1, "medium") for name in names)
    placed = tuple(Placed(name, 0.3, 0.5, 0.4) for name in names)
    return Scene("benchmark", 0, Composition(groups, "red", None, None), placed, " and ".join(names))


def reading(*names: str) -> Reading:
    return Reading(tuple(Detection(name, 0.3, 0.5, 0.4, 0.9) for name in names), {}, {})


def test_a_row_by_hand() -> None:
    scenes = [scene_of("cat", "fox"), scene_of("cat"), scene_of("tiger")]
    readings = [reading("cat"), reading("cat", "fox"), reading()]
    asked = [
        [question("0", "a?", "yes", "animal/human"), question("0", "b?", "yes", "color")],
        [question("1", "a?", "yes", "animal/human"), question("1", "b?", "no", "animal/human")],
        [question("2", "a?", "yes", "color")],
    ]
    answers = [["yes", "no"], ["yes", "no"], ["yes"]]
    frequencies = {"cat": "common", "tiger": "rare", "fox": "library_only"}
    scores = score_row(asked, answers, readings, scenes, frequencies)
    assert scores.captions.tolist() == [0.5, 1.0, 1.0]
    document = scores.as_json()
    assert document["tifa"][0] == pytest.approx(2.5 / 3, abs=1e-4)
    assert document["by_element_type"]["animal/human"] == [1.0, 1.0, 1.0]
    assert document["by_element_type"]["color"][0] == 0.5
    # two cats are asked for and found; the first fox is missing, and the second was not asked for
    assert {name: value[0] for name, value in document["recall"].items()} == {
        "common": 1.0,
        "rare": 0.0,
        "library_only": 0.0,
    }


def test_a_frequency_that_no_caption_names_is_left_out() -> None:
    scores = score_row(
        [[question("0", "a?", "yes", "color")]],
        [["yes"]],
        [reading("cat")],
        [scene_of("cat")],
        {"cat": "common"},
    )
    assert list(scores.as_json()["recall"]) == ["common"]


def test_a_caption_without_questions_is_refused() -> None:
    with pytest.raises(ValueError, match="no questions"):
        score_row([[]], [[]], [reading()], [scene_of("cat")], {"cat": "common"})
