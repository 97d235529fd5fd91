"""New concepts: nobody was shown them, and pictures and prompts share no composition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.concepts import concepts
from training.data.splits import split_of
from training.data.world import World
from training.evaluation.judge import Judge
from training.evaluation.new_concepts import (
    PICTURES,
    concept_prompts,
    judge_world,
    make_concepts,
    new_names,
    swapped,
)
from training.evaluation.new_concepts_run import NewConceptsBenchmark, main
from training.family.random_family import NANO_WORLD

WORLD = World(common=("cat", "dog", "apple", "bus"), rare=("tiger",), library_only=("fox",))


def test_the_concepts_are_in_no_training() -> None:
    names = new_names(WORLD)
    assert len(names) == len(set(names)) == 40
    assert not set(names) & {*WORLD.names, *WORLD.lent}
    assert set(names) < set(judge_world(WORLD).names)
    with pytest.raises(ValueError, match="are new to every training, 4000 are asked for"):
        new_names(WORLD, 4000)


def test_captions_hold_the_made_up_name_and_never_the_own_one() -> None:
    made = make_concepts(WORLD, count=12, prompts=6)
    assert made == make_concepts(WORLD, count=12, prompts=6)
    assert len({one.word for one in made}) == 12
    for one in made:
        own = {one.name, concepts()[one.name].plural}
        for scene in (*one.pictures, *one.prompts):
            assert one.word in scene.caption
            assert not own & set(scene.caption.replace(",", "").split())
            assert scene.concepts[0] == one.name


def test_pictures_and_prompts_share_no_composition_and_pictures_show_the_thing_alone() -> None:
    made = make_concepts(WORLD, count=12, prompts=6)
    validation = make_concepts(WORLD, count=12, prompts=6, split="validation")
    for one, other in zip(made, validation, strict=True):
        assert one.pictures == other.pictures
        assert len(one.pictures) == PICTURES
        assert all(len(scene.placed) == 1 for scene in one.pictures)
        assert {split_of(scene.composition) for scene in one.pictures} == {"library"}
        assert {split_of(scene.composition) for scene in one.prompts} == {"benchmark"}
        assert {split_of(scene.composition) for scene in other.prompts} == {"validation"}
    with_company = [len(scene.concepts) for one in made for scene in one.prompts]
    assert set(with_company) == {1, 2}


def test_wrong_references_are_another_concepts_pictures_under_the_own_name() -> None:
    made = make_concepts(WORLD, count=5, prompts=2)
    for one, other, following in zip(made, swapped(made), (*made[1:], made[0]), strict=True):
        assert (other.word, other.prompts) == (one.word, one.prompts)
        assert [scene.placed for scene in other.pictures] == [scene.placed for scene in following.pictures]
        assert all(one.word in scene.caption for scene in other.pictures)


def test_prompts_of_known_concepts_name_them() -> None:
    assert all("tiger" in scene.caption for scene in concept_prompts(WORLD, "tiger"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "judge_new.safetensors"
    untrained = Judge.untrained(judge_world(NANO_WORLD), resolution=32)
    untrained.errors = {"drawn": {"all": 0.5}}
    untrained.save(path)
    return path


def test_own_pictures_are_found_and_seen(family_path: Path, judge: Path) -> None:
    made = make_concepts(NANO_WORLD, count=3, prompts=2)
    benchmark = NewConceptsBenchmark(family_path, Judge.load(judge), made)
    own = len(benchmark._library) - 2 * 3 * PICTURES
    for count in (1, 5):
        found = benchmark._searched(count, wrong=False)
        allowed = {*range(own), *(own + one * PICTURES + shot for one in range(3) for shot in range(count))}
        assert set(found.rows.flatten().tolist()) <= allowed
    wrong = set(benchmark._searched(3, wrong=True).rows.flatten().tolist())
    assert not wrong & set(range(own, own + 3 * PICTURES))
    recall, pictures = benchmark.run()
    assert list(recall) == list(pictures) == ["none", "wrong_3", "own_1", "own_3", "own_5"]
    assert all(values.shape == (3,) and 0 <= values.min() <= values.max() <= 1 for values in recall.values())
    assert all(some.shape == (6, 32, 32, 3) for some in pictures.values())
    assert not np.array_equal(pictures["own_3"], pictures["none"])


def test_the_command_writes_the_page_and_validation_writes_nothing(
    family_path: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--family", str(family_path), "--judge", str(judge), "--out", str(tmp_path / "docs")]
    assert main([*arguments, "--split", "validation"]) == 0
    assert "3 of its own pictures" in capsys.readouterr().out
    assert not (tmp_path / "docs").exists()
    assert main(arguments) == 0
    document = json.loads((tmp_path / "docs" / "new_concepts.json").read_text())
    assert len(document["concepts"]) == 40
    assert set(document["recall"]) == {"none", "wrong_3", "own_1", "own_3", "own_5", "rare", "common"}
    page = (tmp_path / "docs" / "new_concepts.md").read_text()
    assert "rare concepts" in page
    assert (tmp_path / "docs" / "results" / "new_concepts.png").exists()


def test_a_judge_that_does_not_know_them_is_refused(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would find none of them in any picture, and the page would say that references do not help."""
    judge = tmp_path / "judge_new.safetensors"
    arguments = ["--family", str(family_path), "--judge", str(judge), "--out", str(tmp_path / "docs")]
    way_out = f"--vae {tmp_path / 'vae'} --new-concepts --out {judge}"
    assert main(arguments) == 2
    assert way_out in capsys.readouterr().err
    Judge.untrained(NANO_WORLD, resolution=32).save(judge)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "the judge does not know " in error
    assert way_out in error
    assert not (tmp_path / "docs").exists()
