"""``python -m training.evaluate`` from the command line, on models of random weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.benchmarks.conftest import ASKED, COCO, PARTI, TEXTS, inception_of, noise_picture
from training.benchmarks.blip import Blip
from training.benchmarks.fid_features import Inception
from training.benchmarks.open_clip_model import OpenClip, clip_scores
from training.benchmarks.vqa_model import Asked
from training.evaluate import main
from training.evaluation.fidelity import frechet_distance


def tifa(files: tuple[Path, Path], vqa_folder: Path, out: Path, *more: str | Path) -> int:
    texts, questions = files
    words = [
        "tifa",
        "--text-inputs",
        texts,
        "--questions",
        questions,
        "--vqa",
        vqa_folder,
        "--out",
        out,
        *more,
    ]
    return main([str(word) for word in words])


def read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_tifa_scores_given_pictures_and_logs_as_tifa_does(
    tifa_files: tuple[Path, Path],
    blip_folder: Path,
    given_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tifa(tifa_files, blip_folder, tmp_path / "out", "--pictures", given_pictures) == 0
    result, own = read(tmp_path / "out" / "tifa.json"), read(tmp_path / "out" / "tifa_given.json")
    model, right = Blip(blip_folder, device="cpu"), {}
    for seed, text in enumerate(TEXTS):
        asked = ASKED[text["id"]]
        scores = model.score_choices(noise_picture(seed), [Asked(one[0], one[1]) for one in asked])
        said = [one[1][some.index(max(some))] for one, some in zip(asked, scores, strict=True)]
        right[text["id"]] = [given == one[2] for given, one in zip(said, asked, strict=True)]
    expected = np.mean([np.mean(some) for some in right.values()])
    assert result["rows"]["given"]["tifa"][0] == pytest.approx(expected, abs=1e-4)
    assert own["tifa_average"] == pytest.approx(expected)
    kinds = {"animal/human": [right["coco_1"][0], right["drawbench_3"][0]], "counting": right["drawbench_2"]}
    for kind, hits in kinds.items():
        assert result["rows"]["given"]["by_element_type"][kind][0] == pytest.approx(np.mean(hits), abs=1e-4)
    assert result["rows"]["given"]["by_source"]["coco"][0] == pytest.approx(
        np.mean(right["coco_1"]), abs=1e-4
    )
    assert set(own) == {
        "tifa_average",
        "tifa_stdev",
        "accuracy_by_type",
        "question_details",
        "caption_scores",
    }
    detail = own["question_details"]["drawbench_2"]["how many dog are there?"]
    assert list(detail)[-3:] == ["free_form_vqa", "multiple_choice_vqa", "scores"]
    assert result["protocol"]["questions"] == 4
    assert "element_type: counting" in capsys.readouterr().out


def test_tifa_draws_with_and_without_retrieval_and_resumes(
    tifa_files: tuple[Path, Path], vilt_folder: Path, sentence_folder: Path, nano_bundle: Path, tmp_path: Path
) -> None:
    """What a run left behind is not drawn nor asked again, and ends in the same result as one run."""
    out, more = tmp_path / "out", ("--bundle", nano_bundle, "--sentence-encoder", sentence_folder)
    assert tifa(tifa_files, vilt_folder, tmp_path / "whole", *more) == 0
    assert tifa(tifa_files, vilt_folder, out, *more, "--count", "2") == 0
    log = out / "answers" / "retrieval.jsonl"
    before = log.read_text()
    log.write_text(before + '{"key": "cut of')
    assert tifa(tifa_files, vilt_folder, out, *more) == 0
    assert log.read_text().startswith(before)
    assert len(log.read_text().splitlines()) == len(TEXTS)
    result, whole = read(out / "tifa.json"), read(tmp_path / "whole" / "tifa.json")
    assert result == whole
    first, other = (result["rows"][name]["tifa"][0] for name in ("retrieval", "no_retrieval"))
    assert result["differences"]["retrieval - no_retrieval"]["tifa"][0] == pytest.approx(
        first - other, abs=2e-4
    )
    assert result["protocol"]["pictures"]["no_retrieval"]["references"] == 0


def test_answers_of_another_model_are_refused(
    tifa_files: tuple[Path, Path],
    blip_folder: Path,
    vilt_folder: Path,
    given_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tifa(tifa_files, vilt_folder, tmp_path / "out", "--pictures", given_pictures) == 0
    assert tifa(tifa_files, blip_folder, tmp_path / "out", "--pictures", given_pictures) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "holds answers of another recipe" in error
    assert "choose another --out" in error


def test_a_changed_picture_is_asked_about_anew(
    tifa_files: tuple[Path, Path], vilt_folder: Path, given_pictures: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "out" / "answers" / "given.jsonl"
    for expected in (3, 4):
        assert tifa(tifa_files, vilt_folder, tmp_path / "out", "--pictures", given_pictures) == 0
        assert len(lines.read_text().splitlines()) == expected
        noise_picture(99).save(given_pictures / "coco_1.png")


def test_parti_scores_by_category_and_challenge(clip_folder: Path, nano_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "parti.tsv").write_text(PARTI)
    words = ["parti", "--prompts", tmp_path / "parti.tsv", "--clip", clip_folder, "--bundle", nano_bundle]
    assert main([str(word) for word in [*words, "--out", tmp_path / "out", "--batch", "2"]]) == 0
    row = read(tmp_path / "out" / "parti.json")["rows"]["retrieval"]
    assert set(row["by_category"]) == {"Animals", "Artifacts"}
    assert set(row["by_challenge"]) == {"Basic", "Quantity"}
    tower = OpenClip(clip_folder, device="cpu", batch=8)
    with Image.open(tmp_path / "out" / "pictures" / "retrieval" / "parti_2.png") as opened:
        seen = tower.embed_pictures([opened.convert("RGB")])
    (score,) = clip_scores(tower.embed_prompts(["two cats"]), seen)
    assert row["by_challenge"]["Quantity"] == pytest.approx([score] * 3, abs=1e-4)


def test_coco_takes_fid_to_the_users_real_pictures(clip_folder: Path, tmp_path: Path) -> None:
    """Two folders of another model as rows, and their difference."""
    (tmp_path / "coco.txt").write_text(COCO)
    seeds = {"real": range(4), "good": range(4, 7), "flat": range(3)}
    for name, some in seeds.items():
        (tmp_path / name).mkdir()
        for index, seed in enumerate(some):
            picture = (
                noise_picture(seed, side=48) if name != "flat" else Image.new("RGB", (32, 32), (seed, 0, 0))
            )
            picture.save(tmp_path / name / f"coco_{38 + index}.png")
    words = ["coco", "--prompts", tmp_path / "coco.txt", "--clip", clip_folder, "--out", tmp_path / "out"]
    words += ["--pictures-real", tmp_path / "real", "--pictures", tmp_path / "good", tmp_path / "flat"]
    assert main([str(word) for word in words]) == 0
    result = read(tmp_path / "out" / "coco.json")
    tower = OpenClip(clip_folder, device="cpu", batch=8)
    real, good = (
        tower.embed_pictures([noise_picture(seed, 48) for seed in seeds[name]]) for name in ("real", "good")
    )
    assert result["rows"]["good"]["fid"] == pytest.approx(100 * frechet_distance(good, real), abs=1e-2)
    assert result["rows"]["good"]["fid"] < result["rows"]["flat"]["fid"]
    assert result["differences"]["good - flat"]["fid"] < 0
    assert "no Inception FID" in result["protocol"]["fid"]
    assert result["protocol"]["real_pictures"] == 4


def test_coco_takes_fid_on_inception_features_from_the_users_file(
    clip_folder: Path, inception_file: Path, tmp_path: Path
) -> None:
    """The same number as torch-fidelity's own network gives for pictures that PIL resized."""
    (tmp_path / "coco.txt").write_text(COCO)
    features = []
    for name, seeds in {"real": range(3), "flat": range(3, 6)}.items():
        (tmp_path / name).mkdir()
        some = [noise_picture(seed, side=48) for seed in seeds]
        for index, picture in enumerate(some):
            picture.save(tmp_path / name / f"coco_{38 + index}.png")
        resized = np.stack([np.asarray(one.resize((299, 299), Image.Resampling.BICUBIC)) for one in some])
        features.append(inception_of(inception_file)(torch.from_numpy(resized).permute(0, 3, 1, 2))[0])
    words = ["coco", "--prompts", tmp_path / "coco.txt", "--clip", clip_folder, "--inception", inception_file]
    words += [
        "--pictures-real",
        tmp_path / "real",
        "--pictures",
        tmp_path / "flat",
        "--out",
        tmp_path / "out",
    ]
    assert main([str(word) for word in words]) == 0
    result = read(tmp_path / "out" / "coco.json")
    assert result["rows"]["flat"]["fid"] == pytest.approx(
        frechet_distance(features[1], features[0]), rel=1e-3
    )
    assert "Inception-v3 2048 features" in result["protocol"]["fid"]


def test_a_file_that_is_no_inception_is_refused(tmp_path: Path) -> None:
    for content, message in ((b"", "not torch-fidelity's"), (None, "no such file")):
        path = tmp_path / f"weights-{content}"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            Inception(path, device="cpu")


def test_clip_scores_are_open_clips_own_cosine(clip_folder: Path) -> None:
    import open_clip

    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    picture, words = noise_picture(3, side=50), open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a cat"])
    with torch.no_grad():
        image, text = model.eval().encode_image(prepare(picture)[None]), model.encode_text(words)
    expected = nn.functional.cosine_similarity(image, text)
    tower = OpenClip(clip_folder, device="cpu", batch=2)
    found = clip_scores(tower.embed_prompts(["a cat"]), tower.embed_pictures([picture]))
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parti", "--prompts", "FILE", "--clip", "none"], "no such folder; wanted is .*ViT-g-14"),
        (["coco", "--prompts", "FILE", "--clip", "none", "--inception", "x"], "--inception without --pictures-real"),
        (["coco", "--prompts", "none.txt", "--clip", "none"], "none.txt"),
        (["coco", "--prompts", "FILE", "--clip", "none", "--batch", "0"], "--batch 0; allowed are 1 to 64"),
        (["coco", "--prompts", "FILE", "--clip", "none", "--count", "0"], "--count 0"),
        (["tifa", "--text-inputs", "FILE", "--questions", "FILE", "--vqa", "none"], "not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts"
    file.write_text(PARTI if words[0] == "parti" else COCO)
    assert main([*(str(file) if word == "FILE" else word for word in words), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)


def test_questions_of_other_captions_are_refused(
    tifa_files: tuple[Path, Path], vilt_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(tifa_files[1].read_text())
    tifa_files[1].write_text(json.dumps([row for row in rows if row["id"] != "drawbench_2"]))
    assert tifa(tifa_files, vilt_folder, tmp_path / "out") == 2
    assert "1 of 3 prompts have no question (drawbench_2" in capsys.readouterr().err
    tifa_files[1].write_text(json.dumps([{**row, "caption": "another"} for row in rows]))
    assert tifa(tifa_files, vilt_folder, tmp_path / "out") == 2
    assert "asked about 'another'" in capsys.readouterr().err


def test_rows_of_the_same_name_are_refused(
    tifa_files: tuple[Path, Path],
    vilt_folder: Path,
    given_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tifa(tifa_files, vilt_folder, tmp_path / "out", "--pictures", given_pictures, given_pictures) == 2
    assert "two rows would be called ['given']" in capsys.readouterr().err


def test_own_is_the_familys_own_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["own", "--help"])
    assert stopped.value.code == 0
    assert "python -m training.evaluation" in capsys.readouterr().out
