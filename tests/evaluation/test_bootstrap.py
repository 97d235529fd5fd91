"""Intervals: they cover what they claim, and the numbers are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import Interval, mean_interval, paired_difference, ratio_interval

FRACTIONS = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, trials, hits = 0.7, 300, 0
    for trial in range(trials):
        values = rng.binomial(8, truth, size=60) / 8
        interval = mean_interval(values, confidence=0.9, resamples=400, seed=trial)
        hits += interval.low <= truth <= interval.high
    assert 0.84 <= hits / trials <= 0.95  # 0.9 +- 3 standard errors


def test_interval_of_a_ratio_covers_the_truth_though_captions_ask_unequally() -> None:
    rng = np.random.default_rng(1)
    truth, trials, hits = 0.6, 300, 0
    for trial in range(trials):
        asked = rng.integers(0, 4, size=80)
        interval = ratio_interval(
            rng.binomial(asked, truth), asked, confidence=0.9, resamples=400, seed=trial
        )
        hits += interval.low <= truth <= interval.high
    assert 0.84 <= hits / trials <= 0.95


@given(values=FRACTIONS, seed=st.integers(0, 2**32))
def test_ends_enclose_the_middle_and_stay_among_the_values(values: list[float], seed: int) -> None:
    interval = mean_interval(values, resamples=200, seed=seed)
    assert interval.mean == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values, seed=1) != mean_interval(values)


def test_interval_shrinks_with_the_root_of_the_number_of_captions() -> None:
    values = np.random.default_rng(0).random(100)
    few, many = mean_interval(values, resamples=4000), mean_interval(np.tile(values, 9), resamples=4000)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(3, rel=0.1)


def test_pairing_removes_what_both_rows_share() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    paired = paired_difference(difficulty + 0.05 + rng.normal(0, 0.01, 200), difficulty)
    assert paired.mean == pytest.approx(0.05, abs=0.005)
    assert 0 < paired.low < 0.05 < paired.high < 0.06
    assert paired.high - paired.low < 0.1 * (mean_interval(difficulty).high - mean_interval(difficulty).low)


def test_ratio_is_micro_not_macro() -> None:
    assert ratio_interval([1, 9], [1, 18]).mean == pytest.approx(
        10 / 19
    )  # the mean of the shares would be 0.75


def test_captions_without_the_kind_do_not_count() -> None:
    interval = ratio_interval([1, 0, 0, 0], [1, 0, 0, 0], resamples=500)
    assert interval == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("top", "bottom", "message"),
    [
        ([], [], "no captions"),
        ([1.0], [1.0, 1.0], r"\(1,\) and \(2,\)"),
        ([float("nan")], [1.0], "not finite"),
        ([0.0, 0.0], [0.0, 0.0], "nothing was counted"),
        ([0.0], [-1.0], ">= 0"),
    ],
)
def test_bad_values_are_named(top: list[float], bottom: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(top, bottom)


@pytest.mark.parametrize(("option", "value"), [("confidence", 1.0), ("confidence", 0.0), ("resamples", 0)])
def test_bad_options_are_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} must"):
        mean_interval([1.0], **{option: value})


def test_rows_of_other_captions_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same captions"):
        paired_difference([1.0, 0.0], [1.0])
