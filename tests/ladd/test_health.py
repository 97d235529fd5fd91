"""What a sick run is told, and that a healthy one hears nothing."""

from __future__ import annotations

import logging

import pytest

from training.ladd.health import PATIENCE, Health

WELL = {
    "loss/heads": 1.2,
    "gradient/smooth_l1": 0.1,
    "gradient/perceptual": 0.9,
    "gradient/adversarial": 2.0,
    "weight/smooth_l1": 10.0,
    "weight/perceptual": 1.0,
    "weight/adversarial": 0.25,
}


def warnings_of(caplog: pytest.LogCaptureFixture, *intervals: dict[str, float]) -> list[str]:
    caplog.clear()
    health = Health()
    with caplog.at_level(logging.WARNING):
        for step, means in enumerate(intervals):
            health.look(step, means)
    return caplog.messages


def test_a_healthy_run_hears_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of(caplog, *[WELL] * 50)


def test_a_saturated_discriminator_is_named_once_with_its_cure(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = warnings_of(caplog, *[WELL | {"loss/heads": 0.01}] * 20)
    assert "step 4: the discriminator tells everything apart" in text
    assert "lower [optimiser] heads_learning_rate" in text


def test_one_good_interval_starts_the_count_anew(caplog: pytest.LogCaptureFixture) -> None:
    bad = WELL | {"loss/heads": 0.01}
    assert not warnings_of(caplog, *[*[bad] * (PATIENCE - 1), WELL] * 4)


def test_a_loss_that_drowns_the_others_is_named(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = warnings_of(caplog, *[WELL | {"gradient/adversarial": 80.0}] * PATIENCE)
    assert "gradient of adversarial is 22 times that of the weakest loss" in text


def test_the_ramps_start_is_no_sickness(caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of(caplog, *[WELL | {"weight/adversarial": 0.0}] * PATIENCE)


def test_ignored_references_are_named_with_the_numbers(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    with caplog.at_level(logging.WARNING):
        for step in range(PATIENCE):
            health.look_at_references(step, {"right": 0.02, "wrong": 0.03, "none": 0.02})
        assert not caplog.messages
        for step in range(PATIENCE):
            health.look_at_references(step, {"right": 0.03, "wrong": 0.03, "none": 0.03})
    (text,) = caplog.messages
    assert "the references are ignored" in text
    assert "raise [masking] share" in text
