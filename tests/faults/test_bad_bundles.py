"""Hundreds of damaged bundles: an error of ours, or the right picture; no crash, no hang, no foreign exception."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.bad_bundles import SEED, bad_bundles
from tests.faults.judge import faults
from tests.faults.trial import drawn
from tests.faults.workers import CrashProof

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and limits of memory")


@pytest.mark.slow
def test_no_damaged_bundle_ends_in_a_traceback_a_crash_or_a_wrong_picture(
    small_bundle: Path, tmp_path: Path
) -> None:
    cases = bad_bundles(SEED)
    assert len(cases) >= 900
    assert len({case.name for case in cases}) == len(cases)
    whole = drawn(small_bundle, "full")
    assert whole.startswith("picture ")
    arguments = [str(small_bundle), str(tmp_path / "damaged"), str(SEED)]
    worker = CrashProof("tests.faults.trial", arguments, tmp_path / "stderr")
    answers = dict(worker.answers(range(len(cases))))
    assert len(answers) == len(cases)
    found = [line for number, case in enumerate(cases) for line in faults(case, answers[number], whole)]
    assert not found, "\n".join(found)
    outcomes = [outcome for answer in answers.values() for outcome in answer["outcomes"].values()]
    assert sum(outcome.startswith("error ") for outcome in outcomes) > len(outcomes) // 2


@pytest.mark.parametrize(("number", "said"), [(0, "it died (-11)"), (1, "it hung (-9)")])
def test_a_case_that_kills_its_process_is_named_and_the_next_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """The test above is only as good as this."""
    monkeypatch.setattr("tests.faults.workers.SECONDS", 5.0)
    worker = CrashProof("tests.faults.deadly", [], tmp_path / "stderr")
    answers = dict(worker.answers([2, number, 3]))
    assert answers[2] == {"outcomes": {}, "grown": 2}
    assert answers[number]["crash"].startswith(said)
    assert answers[3] == {"outcomes": {}, "grown": 3}
