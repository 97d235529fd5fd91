"""The parts of a study: what is kept, what a setting changes, when a difference counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.study.conftest import EVERY_QUESTION, write_config
from training.ladd.alignment import encode_batch
from training.ladd.queries import queries_of
from training.ladd.setup import Parts, assemble
from training.study.bench import Bench
from training.study.config import StudyConfig, read_study_config
from training.study.memory import EncodedRows
from training.study.settings import default_of, to_train
from training.study.summary import is_clear, seed_noise


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    return read_study_config(write_config(tmp_path_factory.mktemp("config"), EVERY_QUESTION))


@pytest.fixture(scope="module")
def parts(config: StudyConfig, family_path: Path) -> Parts:
    return assemble(config.ladd, family_path, retrieves=True, device=torch.device("cpu"))


def test_what_the_encoder_made_is_what_it_would_make(parts: Parts) -> None:
    memory, batch = EncodedRows(parts), parts.training.training(0, 4)
    expected = encode_batch(parts, batch)
    other = replace(batch, shown=(batch.shown[0], "something else", *batch.shown[2:]))
    torch.testing.assert_close(memory(batch), expected)
    torch.testing.assert_close(memory(other)[[0, 2, 3]], expected[[0, 2, 3]])
    torch.testing.assert_close(memory(other)[1], encode_batch(parts, other)[1])


def test_a_full_memory_still_encodes(parts: Parts) -> None:
    memory, batch = EncodedRows(parts, limit=2), parts.training.training(0, 4)
    torch.testing.assert_close(memory(batch), memory(batch))


def test_each_choice_changes_its_own_part(config: StudyConfig, parts: Parts) -> None:
    bench, default = Bench(config.ladd, parts), default_of(config.ladd)
    usual = bench.parts_of(default)
    assert usual.features is not None
    assert usual.unknown is not None
    batch = usual.unknown.held_out([0, 1], "right", masked=True, seed=0)
    for name, value in (("encoder", "teacher"), ("reference_timestep", 50)):
        changed = bench.parts_of(replace(default, **{name: value}))
        assert changed.features is not None
        assert not (changed.features.stored == usual.features.stored).all()
    one = bench.parts_of(replace(default, weighing="one")).unknown
    assert one is not None
    assert set(one.held_out([0, 1], "right", masked=True, seed=0).weights.unique().tolist()) <= {0.0, 1.0}
    bare = bench.parts_of(replace(default, masking_share=0.0)).training
    assert not any(bare.training(step, 4).is_masked.any() for step in range(5))
    seeded = bench.parts_of(replace(default, seed=5)).unknown
    assert seeded is not None
    assert torch.equal(seeded.held_out([0, 1], "right", masked=True, seed=0).rows, batch.rows)


def test_a_prompt_is_looked_up_by_itself_its_phrases_or_both() -> None:
    prompt = "a red bus left of two cats"
    assert queries_of(prompt) == [prompt, "a red bus", "two cats"]
    assert queries_of(prompt, "prompt") == [prompt]
    assert queries_of(prompt, "phrases") == ["a red bus", "two cats"]
    assert queries_of("at the beach", "phrases") == ["at the beach"]  # no thing: the prompt is all there is
    assert queries_of("a cat") == ["a cat"]


def test_every_setting_is_trained_once(config: StudyConfig) -> None:
    settings = to_train(default_of(config.ladd), config.questions, config.seeds)
    assert len(settings) == len(set(settings)) == 9
    assert [setting.seed for setting in settings[:2]] == [0, 1]


def test_a_difference_counts_only_beyond_both_noises() -> None:
    noise = seed_noise([0.100, 0.101])
    assert noise == pytest.approx(0.002)
    assert is_clear((-0.003, 0.001), noise)
    assert not is_clear((-0.0019, 0.0001), noise)  # two seeds differ as much
    assert not is_clear((-0.003, 0.002), noise)  # on other pictures it might be nothing
