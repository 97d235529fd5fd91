"""Single rows are measured and put into results that are there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.evaluation.__main__ import main
from training.evaluation.judge import Judge
from training.evaluation.merge import anchors_of
from training.evaluation.results import PAIRS
from training.evaluation.rows import ORDER
from training.evaluation.run import evaluate
from training.evaluation.session import Settings
from training.family.random_family import NANO_WORLD

COUNT = 6
Write = Callable[[Callable[[dict[str, Any]], None]], None]


@pytest.fixture(scope="module")
def whole(family_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All rows, measured once."""
    folder = tmp_path_factory.mktemp("merge")
    Judge.untrained(NANO_WORLD, resolution=32).save(folder / "judge.safetensors")
    settings = Settings(
        family=family_path,
        bundle=None,
        judge=folder / "judge.safetensors",
        metric_clip=family_path / "metric_clip",
        out=folder / "docs",
        cache=folder / "cache",
        count=COUNT,
    )
    evaluate(settings)
    return settings


@pytest.fixture
def settings(whole: Settings, tmp_path: Path) -> Settings:
    """The same in a folder of its own, with nothing drawn but what is drawn again."""
    out = Path(shutil.copytree(whole.out, tmp_path / "docs"))
    return replace(whole, out=out, cache=tmp_path / "cache", merges=True)


def results_of(settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((settings.out / "results.json").read_text())
    return document


def change(settings: Settings, how: Callable[[dict[str, Any]], None]) -> bytes:
    document = results_of(settings)
    how(document)
    path = settings.out / "results.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path.read_bytes()


@pytest.mark.parametrize("row", ["slerp_best_1", "adapter_float16_1", "drawn_through_vae", "rdm_50"])
def test_a_row_that_was_taken_out_comes_back_as_it_was(settings: Settings, row: str) -> None:
    expected = results_of(settings)
    part = "rows" if row in expected["rows"] else "controls"
    pairs = [name for name, pair in PAIRS.items() if row in pair]

    def take_out(document: dict[str, Any]) -> None:
        del document[part][row]
        for pair in pairs:
            for kind in ("paired", "paired_clip", "paired_recall"):
                del document[kind][pair]

    change(settings, take_out)
    evaluate(replace(settings, rows=(row,)))
    found = results_of(settings)
    if "ms_from" not in expected[part][row]:  # timed with all rows; nobody times one alone
        for key in ("ms", "ms_split"):
            expected[part][row].pop(key, None)
    assert found == expected
    assert list(found[part]) == list(expected[part])
    drawn = {folder.name.rsplit("-", 1)[0] for folder in settings.cache.iterdir() if "-" in folder.name}
    assert "teacher_50" not in drawn
    assert ("rdm_50" in drawn) == (row == "rdm_50")
    assert row in (settings.out / "results.md").read_text()


def test_times_stay_and_what_follows_from_them_follows(settings: Settings) -> None:
    def old(document: dict[str, Any]) -> None:
        document["rows"]["base_1"]["ms"] = 10.0
        document["rows"]["best_of_seeds_1"] |= {"candidates": 3, "ms": 30.0, "ms_from": "3 x base_1"}

    change(settings, old)
    evaluate(replace(settings, rows=("best_of_seeds_1",)))
    rows = results_of(settings)["rows"]
    assert rows["base_1"]["ms"] == 10.0
    assert rows["best_of_seeds_1"]["candidates"] == 9
    assert rows["best_of_seeds_1"]["ms"] == 90.0
    assert rows["best_of_seeds_1"]["ms_from"] == "9 x base_1"


def test_results_of_other_weights_are_refused_and_stay(settings: Settings) -> None:
    def others(document: dict[str, Any]) -> None:
        document["rows"]["adapter_1"]["tifa"][0] += 0.01

    before = change(settings, others)
    with pytest.raises(
        ValueError, match=r"adapter_1 has a TIFA of .* other weights, .* measure all rows anew"
    ):
        evaluate(replace(settings, rows=("slerp_mid_input_1",)))
    assert (settings.out / "results.json").read_bytes() == before


@pytest.mark.parametrize("key", ["captions", "noise", "vqa"])
def test_results_that_were_measured_otherwise_are_refused(settings: Settings, key: str) -> None:
    def others(document: dict[str, Any]) -> None:
        document["protocol"][key] = {"sha256": "0"} if key == "vqa" else "another"

    before = change(settings, others)
    with pytest.raises(
        ValueError,
        match=rf"results\.json was measured otherwise \({key}: .* the same --count.* measure all rows anew",
    ):
        evaluate(replace(settings, rows=("base_1",)))
    assert (settings.out / "results.json").read_bytes() == before
    assert not (settings.cache).exists()  # refused before anything is drawn


def test_a_row_is_drawn_with_those_that_it_is_paired_with() -> None:
    assert anchors_of(["slerp_best_1"]) == ["adapter_1"]
    assert anchors_of(["adapter_wrong_references_1"]) == ["base_1", "adapter_1"]
    assert anchors_of(["drawn_scenes"]) == ["adapter_1"]
    assert {name for pair in PAIRS.values() for name in pair} <= set(ORDER)


def test_merging_needs_names_and_results(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--family", str(settings.family), "--judge", str(settings.judge), "--bundle", "none"]
    arguments += ["--cache", str(settings.cache), "--count", str(COUNT), "--merge"]
    assert main([*arguments, "--out", str(settings.out)]) == 2
    assert "name them with --rows" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "none"), "--rows", "base_1"]) == 2
    assert "results.json is missing" in capsys.readouterr().err
    assert main([*arguments, "--out", str(settings.out), "--rows", "base_7"]) == 2
    assert "row 'base_7' is unknown" in capsys.readouterr().err


def test_documents_are_not_changed_by_a_merge(whole: Settings) -> None:
    from training.evaluation.merge import merge_documents

    old = results_of(whole)
    before = deepcopy(old)
    merge_documents(old, old, ["base_1"])
    assert old == before


def test_all_times_are_measured_anew_and_nothing_else(settings: Settings) -> None:
    def without_times(document: dict[str, Any]) -> dict[str, Any]:
        kept = deepcopy(document)
        for row in [*kept["rows"].values(), *kept["controls"].values()]:
            for key in ("ms", "ms_split"):
                row.pop(key, None)
        return kept

    before = results_of(settings)
    change(settings, lambda document: document["rows"]["base_1"].update(ms=-1.0))
    change(settings, lambda document: document["controls"]["adapter_k1_1"].pop("ms"))
    evaluate(replace(settings, merges=False, times=True))
    after = results_of(settings)
    assert without_times(after) == without_times(before)
    assert after["rows"]["base_1"]["ms"] > 0
    assert after["controls"]["adapter_k1_1"]["ms"] > 0
    assert after["controls"]["adapter_no_references_1"]["ms"] == after["rows"]["lora_only_1"]["ms"]


def test_times_are_those_of_all_rows(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", str(settings.family), "--times", "--rows", "base_1"]) == 2
    assert "--times times all rows" in capsys.readouterr().err
