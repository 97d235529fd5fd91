"""The workflows do what a developer types, on every Python that we promise, and publish without a secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.interpreters import PROMISED

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def uses(job: dict[str, Any]) -> list[str]:
    return [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_make_targets_that_exist(path: Path) -> None:
    targets = set(
        re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = [line for job in jobs(path.name).values() for line in "\n".join(runs(job)).splitlines()]
    named = {match[1] for line in lines if (match := re.search(r"\bmake ([a-z-]+)", line))}
    assert lines
    assert named <= targets


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_wait_for_jobs_that_exist_and_end_some_day(path: Path) -> None:
    known = jobs(path.name)
    for name, job in known.items():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(known), name
        assert job.get("timeout-minutes") or not uses(job), name
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text


def test_the_suite_and_the_wheel_run_on_every_promised_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classified = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert tuple(classified) == PROMISED
    for job in ("checks", "wheel"):
        assert tuple(jobs("ci.yml")[job]["strategy"]["matrix"]["python"]) == PROMISED
    assert runs(jobs("ci.yml")["checks"]) == ["bash .ci/run"]
    (python,) = (
        s["with"] for s in jobs("release.yml")["check"]["steps"] if "setup-python" in s.get("uses", "")
    )
    assert set(python["python-version"].split()) == set(PROMISED)


def test_only_what_was_checked_is_published_and_only_from_a_tag() -> None:
    release = jobs("release.yml")
    assert any(line.startswith("make release-check") for line in runs(release["check"]))
    assert release["publish"]["needs"] == "check"
    assert release["publish"]["if"] == "github.ref_type == 'tag'"
    assert release["announce"]["needs"] == "publish"
    assert "actions/checkout" not in uses(release["publish"]) + uses(release["announce"])
    assert uses(release["publish"])[-1] == "pypa/gh-action-pypi-publish"
    assert any("sha256sum --check" in line for line in runs(release["publish"]))


def test_nothing_but_the_publishing_job_may_ask_for_an_identity() -> None:
    holders = [
        (path.name, name)
        for path in WORKFLOWS
        for name, job in jobs(path.name).items()
        if "id-token" in job.get("permissions", {})
    ]
    assert holders == [("release.yml", "publish")]
