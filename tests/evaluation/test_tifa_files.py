"""The benchmark's files are TIFA's, and TIFA's own are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data.scene import Scene
from training.data.tifa import (
    ELEMENT_TYPES,
    QUESTION_ANSWERS,
    TEXT_INPUTS,
    Question,
    main,
    question_row,
    read_questions,
    read_text_inputs,
    text_input,
    write_benchmark,
)
from training.data.world import World

# Written out by hand from the format of TIFA v1.0 (its README): the same keys, in the same order.
TIFA_TEXTS = [
    {"id": "coco_1", "caption": "A surfer carrying a board.", "coco_val_id": "38"},
    {"id": "drawbench_2", "caption": "Three cats."},
]
TIFA_QUESTIONS = [
    {
        "id": "coco_1",
        "caption": "A surfer carrying a board.",
        "question": "is the surfer carrying something?",
        "choices": ["yes", "no"],
        "answer": "yes",
        "element_type": "activity",
        "element": "carrying",
        "coco_val_id": "38",
    },
    {
        "id": "drawbench_2",
        "caption": "Three cats.",
        "question": "how many cats are in the picture?",
        "choices": ["1", "2", "3", "4"],
        "answer": "3",
        "element_type": "counting",
        "element": "three",
    },
]


def test_files_hold_tifas_keys_in_tifas_order(asked: list[Scene], tiny_world: World, tmp_path: Path) -> None:
    write_benchmark(tmp_path, asked, tiny_world.names, family="tiny")
    texts = json.loads((tmp_path / TEXT_INPUTS).read_text())
    rows = json.loads((tmp_path / QUESTION_ANSWERS).read_text())
    assert {tuple(text) for text in texts} == {tuple(TIFA_TEXTS[1])}
    assert {tuple(row) for row in rows} == {tuple(TIFA_QUESTIONS[1])}
    assert [text["caption"] for text in texts] == [scene.caption for scene in asked]
    assert {row["id"] for row in rows} == {text["id"] for text in texts}
    assert len({text["id"] for text in texts}) == len(texts)
    assert {row["element_type"] for row in rows} <= set(ELEMENT_TYPES)


def test_what_was_written_is_read_back(asked: list[Scene], tiny_world: World, tmp_path: Path) -> None:
    write_benchmark(tmp_path, asked, tiny_world.names)
    assert read_text_inputs(tmp_path / TEXT_INPUTS) == [text_input(scene) for scene in asked]
    rows = json.loads((tmp_path / QUESTION_ANSWERS).read_text())
    assert [
        json.loads(json.dumps(question_row(one))) for one in read_questions(tmp_path / QUESTION_ANSWERS)
    ] == rows


def test_tifas_own_files_are_read_unchanged(tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(TIFA_TEXTS))
    (tmp_path / "questions.json").write_text(json.dumps(TIFA_QUESTIONS))
    texts, read = read_text_inputs(tmp_path / "texts.json"), read_questions(tmp_path / "questions.json")
    assert [question_row(text) for text in texts] == TIFA_TEXTS
    assert [{**question_row(one), "choices": list(one.choices)} for one in read] == TIFA_QUESTIONS
    assert isinstance(read[0], Question)
    assert read[0].coco_val_id == "38"
    assert read[1].coco_val_id is None


def test_writing_twice_writes_the_same_bytes(asked: list[Scene], tiny_world: World, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_benchmark(tmp_path / name, asked, tiny_world.names)
    for file in (TEXT_INPUTS, QUESTION_ANSWERS):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"id": 1}', "holds a dict"),
        ('[{"id": "a", "caption": "b"}]', "row 0: question, choices, answer, element_type, element missing"),
        ('["a"]', "row 0: id, caption"),
    ],
)
def test_bad_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_command_writes_the_benchmark_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[2] / "training" / "configs" / "emoji.toml"
    assert main(["--config", str(config), "--out", str(tmp_path), "--count", "12"]) == 0
    texts = read_text_inputs(tmp_path / TEXT_INPUTS)
    assert [text.id for text in texts] == [f"emoji_benchmark_{index}" for index in range(12)]
    assert "12 captions" in capsys.readouterr().out


def test_command_without_its_config_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml"), "--out", str(tmp_path)]) == 2
    assert "none.toml" in capsys.readouterr().err
