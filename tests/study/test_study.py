"""A study measures every setting once, goes on where it was stopped, and writes a page with a table per question."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest

from tests.study.conftest import arguments, write_config
from training.study.__main__ import main
from training.study.page import TITLES
from training.study.settings import CHOICES
from training.study.store import FILE

SETTINGS = 2 + len(CHOICES)
"""The default with two seeds, and one other value for each choice."""
DRAWN = 3 + 2
"""By the family's own adapter: right, wrong and no references; other queries, another lambda."""


def document_of(folder: Path) -> dict:
    return json.loads((folder / "docs" / "study.json").read_text(encoding="utf-8"))


def measured_again(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("measuring")]


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def test_every_setting_differs_from_the_default_in_one_choice(study: Path) -> None:
    lines = (study / "work" / FILE).read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line)["of"] for line in lines]
    settings = [one["setting"] for one in kept if one["what"] == "align"]
    assert len(settings) == SETTINGS
    assert len(kept) == SETTINGS + DRAWN
    default = settings[0]
    assert [sum(one[name] != default[name] for name in default) for one in settings[1:]] == [1] * (
        SETTINGS - 1
    )


def test_the_page_has_one_table_per_question(study: Path) -> None:
    document, page = document_of(study), (study / "docs" / "study.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    for choice in CHOICES:
        section, rows = sections[TITLES[choice]], document["questions"][choice]["rows"]
        first_table = section.split("\n\n")[1].splitlines()
        assert len(first_table) == 2 + len(rows) == 4
        assert section.count("(default)") == 1 + (choice in ("queries", "weighing"))
        assert document["questions"][choice]["verdict"] in section


def test_references_change_what_is_drawn_from_h_and_nothing_else_does(study: Path) -> None:
    """Without references all settings are the same model; the held-out pairs are the same ones too."""
    rows = [row for one in document_of(study)["questions"].values() for row in one["rows"]]
    assert len({round(row["unknown"]["none"], 6) for row in rows}) == 1
    assert len({round(row["plain"]["none"], 6) for row in rows}) == 1
    assert len({row["unknown"]["right"] for row in rows}) == SETTINGS - 1
    assert all(0 <= row["probe"] <= 1 for row in rows)


def test_a_finished_study_measures_nothing_again(
    copy: Path, study: Path, family_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (copy / "study.toml").read_text(encoding="utf-8")
    (copy / "study.toml").write_text(text.replace(str(study), str(copy)), encoding="utf-8")
    caplog.set_level(logging.INFO)
    assert main(arguments(copy, family_path)) == 0
    assert not measured_again(caplog)
    assert document_of(copy) == document_of(study)


def test_a_stopped_study_measures_only_what_is_missing(
    copy: Path, study: Path, family_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (copy / "study.toml").read_text(encoding="utf-8")
    (copy / "study.toml").write_text(text.replace(str(study), str(copy)), encoding="utf-8")
    path = copy / "work" / FILE
    lines = path.read_text(encoding="utf-8").splitlines()
    # One line is gone, another was cut off.
    path.write_text("\n".join([*lines[:3], *lines[4:-1], lines[-1][:50]]), encoding="utf-8")
    caplog.set_level(logging.INFO)
    assert main(arguments(copy, family_path)) == 0
    assert len(measured_again(caplog)) == 2
    assert "is damaged: what it held is measured again" in caplog.text
    mine, theirs = document_of(copy), document_of(study)
    for choice in CHOICES:
        for row, other in zip(
            mine["questions"][choice]["rows"], theirs["questions"][choice]["rows"], strict=True
        ):
            assert row["unknown"] == other["unknown"]
            assert row["right_minus_default"] == other["right_minus_default"]
            assert row.get("bundled", {}).get("recall") == other.get("bundled", {}).get("recall")


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ("colour = [1]", r"unknown keys \['colour'\]; allowed are \['encoder'"),
        ('encoder = ["student", "vae"]', "is 'vae' .*; allowed is student, teacher"),
        ("reference_timestep = [1000]", r"reference_timestep is 1000; it must be in \[0, 1000\)"),
        ("masking_share = [1.5]", r"\[masking\] share is 1.5; it must be in \[0, 1\]"),
        ("", r"\[questions\] asks nothing"),
    ],
)
def test_an_unknown_setting_is_refused(
    questions: str, message: str, family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, questions)
    assert main(arguments(tmp_path, family_path)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: study.toml")
    assert re.search(message, printed)
    assert not (tmp_path / "work").exists()


def test_a_family_without_a_judge_is_refused_before_anything_is_made(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, "reference_pool = [2]")
    assert main([*arguments(tmp_path, family_path), "--judge", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_noise_cannot_be_told_from_one_seed(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, "reference_pool = [2]", **{"prompts = 4": "prompts = 4\nseeds = 1"})
    assert main(arguments(tmp_path, family_path)) == 2
    assert "seeds is 1; it must be 2 or more" in capsys.readouterr().err
