"""Pictures are drawn once, by id, from seeds of their own; a stopped run goes on; what does not belong is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.benchmarks.drawing import draw_rows, seed_of
from training.benchmarks.pictures import PictureSet, find_pictures, list_pictures
from training.benchmarks.prompts import Prompt
from training.evaluation.bundle_pictures import BundlePainter

PROMPTS = [Prompt("a_1", "a red circle"), Prompt("a_2", "a blue star"), Prompt("a_3", "a green square")]


def draw(
    bundle: Path, out: Path, prompts: list[Prompt], *, first_seed: int = 0, batch: int = 2
) -> tuple[list[PictureSet], int]:
    """The rows, and how many pictures were drawn or found."""
    counted: list[int] = []
    with BundlePainter(bundle) as painter:
        rows = draw_rows(
            painter, prompts, out, first_seed=first_seed, batch=batch, on_progress=counted.append
        )
    return rows, sum(counted)


def pixels(row: PictureSet, name: str) -> np.ndarray:
    with Image.open(row.files[name]) as opened:
        return np.asarray(opened)


def test_each_picture_is_what_its_prompt_and_seed_draw(nano_bundle: Path, tmp_path: Path) -> None:
    rows, progress = draw(nano_bundle, tmp_path, PROMPTS)
    assert [row.name for row in rows] == ["retrieval", "no_retrieval"]
    assert progress == 2 * len(PROMPTS)
    with Pipeline.load(Bundle.load(nano_bundle), device="cpu") as pipeline:
        for row, references in zip(rows, (rows[0].protocol["references"], 0), strict=True):
            for one in PROMPTS:
                request = DrawRequest((one.text,), (seed_of(one.id, 0),), references=references)
                drawn = pipeline.draw(request).images[0].astype(int)
                assert np.abs(pixels(row, one.id) - drawn).max() <= 1, "to rounding, whatever the batch"
    assert (pixels(rows[0], "a_1") != pixels(rows[1], "a_1")).any()


def test_a_stopped_run_draws_only_what_is_missing(nano_bundle: Path, tmp_path: Path) -> None:
    """And fewer prompts before make the same pictures as all at once."""
    rows, _ = draw(nano_bundle, tmp_path / "one", PROMPTS[:2])
    kept = {path: path.stat().st_mtime_ns for row in rows for path in row.files.values()}
    rows, _ = draw(nano_bundle, tmp_path / "one", PROMPTS)
    whole, _ = draw(nano_bundle, tmp_path / "other", PROMPTS, batch=3)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for row, other in zip(rows, whole, strict=True):
        for one in PROMPTS:
            assert np.abs(pixels(row, one.id).astype(int) - pixels(other, one.id)).max() <= 1


def test_pictures_of_another_seed_bundle_or_prompt_are_refused(
    nano_bundle_copy: Path, tmp_path: Path
) -> None:
    draw(nano_bundle_copy, tmp_path, PROMPTS)
    with pytest.raises(
        ValueError, match=r"another recipe.*first_seed: 0 there, 1 here.*choose another --out"
    ):
        draw(nano_bundle_copy, tmp_path, PROMPTS, first_seed=1)
    with pytest.raises(ValueError, match=r"a_1\.png was drawn from 'a red circle'.*now says 'a cat'"):
        draw(nano_bundle_copy, tmp_path, [Prompt("a_1", "a cat")])
    manifest = nano_bundle_copy / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "bundle_version": "9.9.9"}))
    with pytest.raises(ValueError, match="manifest_sha256"):
        draw(nano_bundle_copy, tmp_path, PROMPTS)


def test_cut_prompts_are_counted_on_the_first_run_and_later(nano_bundle: Path, tmp_path: Path) -> None:
    prompts = [*PROMPTS, Prompt("a_4", "a circle " * 200)]
    for _ in range(2):
        rows, _ = draw(nano_bundle, tmp_path, prompts)
        assert [row.protocol["prompts_cut"] for row in rows] == [1, 1]


def test_too_many_references_are_refused(nano_bundle: Path) -> None:
    with pytest.raises(ValueError, match="--references 99; this bundle allows 1 to"):
        BundlePainter(nano_bundle, references=99)


@given(st.text(min_size=1), st.integers(0, 2**31))
def test_seeds_are_fixed_per_id_and_exact_in_json(name: str, first_seed: int) -> None:
    seed = seed_of(name, first_seed)
    assert seed == seed_of(name, first_seed)
    assert 0 <= seed < 2**48
    assert seed != seed_of(name + "x", first_seed)


def test_given_pictures_are_found_by_id_or_by_tifas_map(tmp_path: Path) -> None:
    for name in ("a_1.png", "a_2.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert find_pictures(tmp_path, PROMPTS[:2]).files["a_2"] == tmp_path / "a_2.jpg"
    with pytest.raises(FileNotFoundError, match=r"1 of 3 pictures are missing \(a_3\).*a_1\.png"):
        find_pictures(tmp_path, PROMPTS)
    mapped = tmp_path / "imgs.json"
    mapped.write_text(json.dumps({"a_1": "a_1.png"}))
    assert find_pictures(mapped, PROMPTS[:1]).files["a_1"] == tmp_path / "a_1.png"
    mapped.write_text("[1]")
    with pytest.raises(ValueError, match="a map of pictures is a JSON object"):
        find_pictures(mapped, PROMPTS[:1])
    with pytest.raises(FileNotFoundError, match="no such folder of pictures"):
        find_pictures(tmp_path / "none", PROMPTS)
    with pytest.raises(FileNotFoundError, match=r"--pictures-real .*: 0 pictures"):
        list_pictures(tmp_path / "none")
