"""The benchmarks' own prompt files are read as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.conftest import COCO, PARTI
from training.benchmarks.prompts import (
    Prompt,
    first_prompts,
    read_coco_prompts,
    read_parti_prompts,
    read_tifa_prompts,
)


def test_parti_rows_keep_category_challenge_and_bare_quotation_marks(tmp_path: Path) -> None:
    (tmp_path / "parti.tsv").write_text(PARTI)
    first, second, third = read_parti_prompts(tmp_path / "parti.tsv")
    assert first == Prompt(
        "parti_1", 'a sign that says "yes', {"category": "Artifacts", "challenge": "Basic"}
    )
    assert second == Prompt("parti_2", "two cats", {"category": "Animals", "challenge": "Quantity"})
    assert third.id == "parti_3"


def test_coco_lines_split_at_the_first_separator(tmp_path: Path) -> None:
    (tmp_path / "coco.txt").write_text(COCO)
    prompts = read_coco_prompts(tmp_path / "coco.txt")
    assert prompts[0] == Prompt("coco_38", "A red cat.")
    assert prompts[1].text == "Two dogs, a cat----and a surfer."
    (tmp_path / "plain.txt").write_text("A cat.\n\nA dog.\n")
    assert read_coco_prompts(tmp_path / "plain.txt") == [
        Prompt("coco_1", "A cat."),
        Prompt("coco_2", "A dog."),
    ]


def test_tifa_prompts_say_their_source(tifa_files: tuple[Path, Path]) -> None:
    prompts = read_tifa_prompts(tifa_files[0])
    assert [(one.id, one.groups["source"]) for one in prompts] == [
        ("coco_1", "coco"), ("drawbench_2", "drawbench"), ("drawbench_3", "drawbench"),
    ]  # fmt: skip
    assert first_prompts(prompts, 2) == prompts[:2]
    assert first_prompts(prompts, None) == prompts
    with pytest.raises(ValueError, match="--count 0; it must be 1 or more"):
        first_prompts(prompts, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Prompt\tCategory\n", r"columns \['Prompt', 'Category'\]; PartiPrompts.tsv has"),
        (PARTI + "only this\n", "row 4: 1 columns; 4 are needed"),
        ("Prompt\tCategory\tChallenge\tNote\n", "no prompt in it"),
        (PARTI + " \tAnimals\tBasic\t\n", "parti_4 has an empty prompt"),
    ],
)
def test_another_table_than_parti_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "parti.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_parti_prompts(tmp_path / "parti.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../x----a cat\n", r"id 'coco_\.\./x' cannot name a picture"),
        ("1----a\n1----b\n", "'coco_1' is there 2 times"),
    ],
)
def test_ids_that_cannot_name_one_picture_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "coco.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_coco_prompts(tmp_path / "coco.txt")
