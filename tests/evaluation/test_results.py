"""From a family's folder to the files in docs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.data.splits import scenes
from training.evaluation.__main__ import main
from training.evaluation.artists import Artists
from training.evaluation.by_concept import CURVES
from training.evaluation.judge import Judge
from training.evaluation.latency_parts import measure_bundle
from training.evaluation.plots import PLOTS
from training.evaluation.publish import main as publish_main
from training.evaluation.results import PAIRS, Benchmark, best_of, make_document, measure
from training.evaluation.rows import (
    CANDIDATES,
    CONTROLS,
    DRAWN,
    NO_REFERENCES,
    ROWS,
    THROUGH_VAE,
    WEIGHTS,
    draw_row,
    find_row,
)
from training.evaluation.run import SHOWN, evaluate
from training.evaluation.session import Settings
from training.family.folder import family_hashes
from training.family.random_family import NANO_WORLD
from training.models.checkpoint import CheckpointError

COUNT = 6


@pytest.fixture(scope="module")
def settings(family_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("results")
    Judge.untrained(NANO_WORLD, resolution=32).save(folder / "judge.safetensors")
    return Settings(
        family=family_path,
        bundle=None,
        judge=folder / "judge.safetensors",
        metric_clip=family_path / "metric_clip",
        out=folder / "docs",
        cache=folder / "cache",
        count=COUNT,
    )


@pytest.fixture(scope="module")
def table(settings: Settings) -> str:
    return evaluate(settings)


def test_json_follows_the_protocol(table: str, settings: Settings) -> None:
    document = json.loads((settings.out / "results.json").read_text())
    assert list(document["rows"]) == [
        "teacher_50",
        "lcm_4",
        "rdm_50",
        "base_1",
        "slerp_fixed_1",
        "slerp_best_1",
        "best_of_seeds_1",
        "lora_only_1",
        "adapter_1",
        "adapter_wrong_references_1",
    ]
    assert list(document["paired"]) == list(document["paired_clip"]) == list(PAIRS)
    for row in document["rows"].values():
        assert list(row)[:5] == ["tifa", "by_element_type", "by_frequency", "recall", "clip"]
        assert set(row["recall"]) <= {"common", "rare", "library_only"}
        assert row["fid"] >= 0
        intervals = [row["tifa"], *row["by_element_type"].values(), *row["recall"].values()]
        assert all(0 <= low <= mean <= high <= 1 for mean, low, high in intervals)
    assert all(low <= mean <= high for mean, low, high in document["paired"].values())
    assert set(document["controls"]) == {*CONTROLS, DRAWN, THROUGH_VAE}
    assert all(document["rows"][name]["ms"] > 0 for name in ROWS)
    assert document["protocol"]["captions"] == COUNT
    assert document["protocol"]["vqa"]["sha256"] == hash_file(settings.judge)


def test_paired_difference_is_the_difference_of_the_rows(table: str, settings: Settings) -> None:
    document = json.loads((settings.out / "results.json").read_text())
    difference = document["rows"]["adapter_1"]["tifa"][0] - document["rows"]["base_1"]["tifa"][0]
    assert document["paired"]["adapter_minus_base"][0] == pytest.approx(difference, abs=2e-4)


def test_page_shows_the_table_the_command_and_the_pictures(table: str, settings: Settings) -> None:
    page = (settings.out / "results.md").read_text()
    for line in table.splitlines():
        assert line in page
    assert f"`python -m training.evaluation ... --out {settings.out}`" in page
    assert f"`python -m training.evaluation.publish --out {settings.out}`" in page
    assert "](research.md" not in page  # what it says is of the family that ships
    sheets = list((settings.out / "results").glob("*.png"))
    assert sheets
    for sheet in sheets:
        assert f"](results/{sheet.name})" in page
        with Image.open(sheet) as picture:
            assert picture.width == (len(SHOWN) + 1) * 64  # seven columns of 32 pixels, doubled


def test_every_file_that_the_pages_show_is_there(table: str, settings: Settings) -> None:
    for page in ("results.md", "grids.md"):
        files = re.findall(r"\]\((?:\./)?([^)#]+)\)", (settings.out / page).read_text())
        assert len(files) > 5
        assert [file for file in files if not (settings.out / file).exists()] == []
    assert {file.stem for file in (settings.out / "results").glob("*.svg")} == set(PLOTS)


def test_concepts_are_counted_one_by_one(table: str, settings: Settings) -> None:
    """Their finds add up to the recall by frequency."""
    document = json.loads((settings.out / "results.json").read_text())
    for name in CURVES:
        for frequency, (recall, _, _) in document["rows"][name]["recall"].items():
            some = [one for one in document["by_concept"].values() if one["frequency"] == frequency]
            found = sum(one["asked"] * one["recall"][name] for one in some)
            assert found / sum(one["asked"] for one in some) == pytest.approx(recall, abs=1e-3)


def test_latency_is_split(table: str, settings: Settings) -> None:
    rows = json.loads((settings.out / "results.json").read_text())["rows"]
    split = rows["adapter_1"]["ms_split"]
    assert list(split) == ["total", "retrieval", "adapter", "share"]
    assert split["total"] == pytest.approx(rows["adapter_1"]["ms"] + split["retrieval"], abs=0.02)
    assert 0 < split["adapter"] < split["total"]
    assert "injection" in rows["slerp_fixed_1"]["ms_split"]
    assert "ms_split" not in rows["base_1"]


def test_the_bundle_is_timed_with_and_without_retrieval(
    family_path: Path, nano_bundle: Path, tmp_path: Path
) -> None:
    artists = Artists(family_path, ("a cat", "a red bus"), nano_bundle)
    measured = measure_bundle(artists, tmp_path, rounds=2)
    assert measured is not None
    assert measured["stages"]["adapter"] > 0
    assert measure_bundle(artists, tmp_path, rounds=2) == measured  # read, not measured again
    assert measure_bundle(replace(artists, bundle=None), tmp_path) is None


def test_the_page_can_be_made_again_from_the_numbers(
    table: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = Path(shutil.copytree(settings.out, tmp_path / "docs"))
    written = {path: path.read_bytes() for path in docs.rglob("*.*")}
    page = docs / "results.md"
    for path in (page, docs / "results" / "tifa.svg"):
        path.unlink()
    command = "training.evaluation.publish --out "  # names the folder that it is written into
    written[page] = written[page].replace(f"{command}{settings.out}".encode(), f"{command}{docs}".encode())
    assert publish_main(["--out", str(docs)]) == 0
    assert {path: path.read_bytes() for path in docs.rglob("*.*")} == written
    (docs / "results.json").write_text('{"rows": {}}')
    assert publish_main(["--out", str(docs)]) == 2
    assert "lacks protocol, paired, paired_clip, paired_recall, controls" in capsys.readouterr().err
    assert publish_main(["--out", str(tmp_path / "none")]) == 2
    assert "python -m training.evaluation" in capsys.readouterr().err


def test_a_second_run_draws_nothing_and_writes_the_same(table: str, settings: Settings) -> None:
    kept = {path: path.stat().st_mtime_ns for path in settings.cache.rglob("*.npy")}
    written = {path: path.read_bytes() for path in settings.out.rglob("*.*")}
    assert len(kept) == len(ROWS) + len(CONTROLS) + sum(map(len, CANDIDATES.values()))
    assert evaluate(settings) == table
    assert {path: path.stat().st_mtime_ns for path in settings.cache.rglob("*.npy")} == kept
    assert {path: path.read_bytes() for path in settings.out.rglob("*.*")} == written


def test_answers_are_kept_in_tifas_form(table: str, settings: Settings) -> None:
    kept = json.loads((settings.cache / "answers" / "adapter_1.json").read_text())
    document = json.loads((settings.out / "results.json").read_text())
    assert kept["tifa_average"] == pytest.approx(document["rows"]["adapter_1"]["tifa"][0], abs=1e-4)
    assert len(kept["question_details"]) == COUNT


def test_a_stopped_row_goes_on(family_path: Path, tmp_path: Path) -> None:
    artists = Artists(family_path, tuple(scene.caption for scene in scenes(NANO_WORLD, "benchmark", 5)))
    whole = draw_row(artists, find_row("base_1"), tmp_path, batch=2)
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 3
    files[1].unlink()
    before = files[0].stat().st_mtime_ns
    assert np.array_equal(draw_row(artists, find_row("base_1"), tmp_path, batch=2), whole)
    assert files[1].exists()
    assert files[0].stat().st_mtime_ns == before


def test_pictures_of_another_adapter_are_never_taken(family_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(family_path, tmp_path / "family"))
    shutil.copy(family_path / "lora_only.safetensors", other / "adapter.safetensors")
    first, second = Artists(family_path, ("a cat",)), Artists(other, ("a cat",))
    assert find_row("adapter_1").depends_on(first) != find_row("adapter_1").depends_on(second)
    assert find_row("base_1").depends_on(first) == find_row("base_1").depends_on(second)


def test_adapter_row_is_what_the_bundle_draws(
    family_path: Path, nano_bundle_copy: Path, tmp_path: Path
) -> None:
    """The nano bundle is no export of this family; with the family's hashes written in, it passes for one."""
    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    adapter = hash_file(family_path / "adapter.safetensors")
    manifest["family"]["hashes"] = {**family_hashes(family_path), "adapter": adapter}
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    artists = Artists(family_path, ("a cat", "a red bus"), nano_bundle_copy)
    request = DrawRequest(artists.prompts, tuple(artists.seeds([0, 1])), references=3)
    with Pipeline.load(Bundle.load(nano_bundle_copy), device="cpu") as pipeline:
        expected = pipeline.draw(request).images
    assert np.array_equal(draw_row(artists, find_row("adapter_1"), tmp_path), expected)
    assert not np.array_equal(draw_row(artists, find_row(NO_REFERENCES), tmp_path), expected)


def test_bundle_of_another_family_is_refused(family_path: Path, nano_bundle: Path, tmp_path: Path) -> None:
    artists = Artists(family_path, ("a cat",), nano_bundle)
    with pytest.raises(ValueError, match=r"exported from another unet .* --bundle none"):
        draw_row(artists, find_row("adapter_1"), tmp_path)


def test_a_bundle_from_before_configs_were_hashed_is_taken(family_path: Path, nano_bundle_copy: Path) -> None:
    """Its manifest says nothing of them; one that names others is refused."""
    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    hashes = {**family_hashes(family_path), "adapter": hash_file(family_path / "adapter.safetensors")}
    artists = Artists(family_path, ("a cat",), nano_bundle_copy)
    for configs in ({}, {"configs": hashes.pop("configs")}):
        manifest["family"]["hashes"] = hashes | configs
        (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
        with find_row("adapter_1").draw(artists) as draw:
            assert len(draw([0])) == 1
    manifest["family"]["hashes"] = hashes | {"configs": "0" * 64}
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with (
        pytest.raises(ValueError, match="exported from another configs"),
        find_row("adapter_1").draw(artists),
    ):
        pass


def test_unknown_row_is_named(family_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 'adapter_2' is unknown; there are teacher_50, lcm_4"):
        draw_row(Artists(family_path, ("a cat",)), find_row("adapter_2"), tmp_path)


def test_missing_control_is_named(family_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(family_path, tmp_path / "family"))
    (other / "lora_only.safetensors").unlink()
    with pytest.raises((CheckpointError, FileNotFoundError), match=r"lora_only\.safetensors"):
        draw_row(Artists(other, ("a cat",)), find_row("lora_only_1"), tmp_path / "cache")


def test_the_best_candidate_is_taken_caption_by_caption(table: str, settings: Settings) -> None:
    document = json.loads((settings.out / "results.json").read_text())
    artists = Artists(settings.family, tuple(one.caption for one in scenes(NANO_WORLD, "benchmark", COUNT)))
    benchmark = Benchmark.of(scenes(NANO_WORLD, "benchmark", COUNT), NANO_WORLD.names, family="nano")
    judge = Judge.load(settings.judge)
    for name, rows in CANDIDATES.items():
        candidates = [draw_row(artists, row, settings.cache) for row in rows]
        scores = [measure(judge, benchmark, some)[0] for some in candidates]
        chosen, _ = measure(judge, benchmark, best_of(candidates, scores))
        assert (chosen.captions == np.max([one.captions for one in scores], axis=0)).all()
        assert document["rows"][name]["tifa"][0] == pytest.approx(chosen.captions.mean(), abs=1e-4)
        assert any((candidates[0] != other).any() for other in candidates[1:])


def test_many_step_models_are_not_drawn_anew_for_another_student(family_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(family_path, tmp_path / "family"))
    shutil.copy(family_path / "teacher" / WEIGHTS, other / "unet" / WEIGHTS)
    first, second = Artists(family_path, ("a cat",)), Artists(other, ("a cat",))
    for row in ROWS.values():
        same = row.depends_on(first) == row.depends_on(second)
        assert same == (row.name in ("teacher_50", "lcm_4", "rdm_50"))


def test_a_missing_baseline_says_how_to_make_it(family_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(family_path, tmp_path / "family"))
    shutil.rmtree(other / "lcm")
    with pytest.raises(FileNotFoundError, match=r"lcm.* is missing, .* python -m training\.baselines"):
        draw_row(Artists(other, ("a cat",)), find_row("lcm_4"), tmp_path / "cache")


def test_baselines_that_were_not_trained_are_left_out_and_named(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Path(shutil.copytree(settings.family, tmp_path / "family"))
    shutil.rmtree(other / "rdm")
    evaluate(replace(settings, family=other, out=tmp_path / "docs"))
    rows = json.loads((tmp_path / "docs" / "results.json").read_text())["rows"]
    assert "rdm_50" not in rows
    assert "lcm_4" in rows
    assert "row rdm_50 is left out" in caplog.text
    shutil.rmtree(other / "teacher")
    with pytest.raises(FileNotFoundError, match="row teacher_50 is drawn with it"):
        evaluate(replace(settings, family=other, out=tmp_path / "docs"))


def test_one_picture_per_caption() -> None:
    judge = Judge.untrained(NANO_WORLD, resolution=32)
    benchmark = Benchmark.of(scenes(NANO_WORLD, "benchmark", 8), NANO_WORLD.names, family="nano")
    with pytest.raises(ValueError, match="3 pictures for 8 captions"):
        measure(judge, benchmark, benchmark.pictures(32)[:3])


def test_document_without_the_adapter_has_no_pairs() -> None:
    assert make_document({}, {}, {}) == {
        "protocol": {},
        "rows": {},
        "paired": {},
        "paired_clip": {},
        "paired_recall": {},
        "controls": {},
    }


def test_command_prints_chosen_rows_and_writes_nothing(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--family", str(settings.family), "--judge", str(settings.judge), "--bundle", "none"]
    arguments += ["--out", str(tmp_path / "docs"), "--cache", str(settings.cache), "--count", str(COUNT)]
    assert main([*arguments, "--rows", "base_1"]) == 0
    printed = capsys.readouterr().out
    assert "`base_1`" in printed
    assert "`adapter_1`" not in printed
    assert not (tmp_path / "docs").exists()


def test_command_without_a_family_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", str(tmp_path / "none"), "--out", str(tmp_path / "docs")]) == 2
    error = capsys.readouterr().err
    assert "family.json" in error
    assert "python -m training.family --config FILE --out" in error


def test_a_missing_clip_is_named_before_anything_is_drawn(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--family", str(settings.family), "--judge", str(settings.judge), "--bundle", "none"]
    arguments += ["--out", str(tmp_path / "docs"), "--cache", str(tmp_path / "cache"), "--count", str(COUNT)]
    assert main([*arguments, "--metric-clip", str(tmp_path / "none")]) == 2
    assert "training.evaluation.metric_clip --config" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
