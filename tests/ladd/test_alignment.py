"""Before LADD the adapter learns in h-space: what its reading says, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ragturbo_runtime.retriever import Calibration
from training.ladd.alignment import Alignment, Reading
from training.ladd.config import AlignmentConfig, LaddConfig
from training.ladd.guide import Guide, SceneMaps, WatchedAttention, guide_loss
from training.ladd.setup import Parts, assemble
from training.models.lora import lora_parameters
from training.parallel import Processes

SETTINGS = AlignmentConfig(steps=60, batch=6, learning_rate=3e-3, log_every=100)


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("factor", [1, 2])
def test_a_linear_relation_is_read_as_it_is(factor: int) -> None:
    h = random_maps(64, 12, 4, 4)
    weight, bias = random_maps(3 * factor**2, 12, 1, 1, seed=1), random_maps(3 * factor**2, seed=2)
    latents = torch.nn.functional.pixel_shuffle(torch.nn.functional.conv2d(h, weight, bias), factor)
    torch.testing.assert_close(Reading(h, latents)(h), latents, atol=2e-2, rtol=2e-2)


def test_the_adapter_learns_to_correct_the_draft_and_nothing_else_moves(parts: Parts) -> None:
    assert parts.student.adapter is not None
    alignment = Alignment(SETTINGS, parts, clip_norm=1.0, processes=Processes())
    others = [*parts.student.unet.parameters()]
    before = [value.detach().clone() for value in others]
    start = alignment.measure(parts.training)
    assert start["right"] == start["wrong"] == start["none"]  # untrained: nothing is added
    alignment.run()
    end = alignment.measure(parts.training)
    assert end["none"] == start["none"]
    assert end["right"] < 0.9 * start["right"]
    assert all(torch.equal(value, old) for value, old in zip(others, before, strict=True))
    assert all(torch.count_nonzero(value) == 0 for value in lora_parameters(parts.student.unet)[1::2])


def test_two_runs_end_alike(config: LaddConfig, family_path: Path) -> None:
    weights = []
    for _ in range(2):
        parts = assemble(config, family_path, retrieves=True, device=torch.device("cpu"))
        Alignment(replace(SETTINGS, steps=3), parts, clip_norm=1.0, processes=Processes()).run()
        assert parts.student.adapter is not None
        weights.append(parts.student.adapter.proj_out.weight.detach().clone())
    assert torch.equal(*weights)
    assert torch.count_nonzero(weights[0])


def test_a_single_step_is_a_run(parts: Parts) -> None:
    assert parts.student.adapter is not None
    Alignment(replace(SETTINGS, steps=1), parts, clip_norm=1.0, processes=Processes()).run()
    assert torch.count_nonzero(parts.student.adapter.proj_out.weight)


def test_a_guide_turns_the_attention(config: LaddConfig, family_path: Path) -> None:
    told = []
    for guide in (1e-9, 1.0):
        parts = guided(assemble(config, family_path, retrieves=True, device=torch.device("cpu")))
        assert parts.student.adapter is not None
        assert parts.guide is not None
        settings = replace(SETTINGS, guide=guide)
        alignment = Alignment(settings, parts, clip_norm=1.0, processes=Processes())
        alignment.run()
        rows = list(range(len(parts.training.pairs)))
        batch = parts.training.held_out(rows, "right", masked=False, seed=0)
        with torch.no_grad(), WatchedAttention(parts.student.adapter.block.attn2) as watched:
            alignment.drafts(batch)
            shares, known = parts.guide.shares(batch.indices, batch.rows, batch.weights)
            told.append(float(guide_loss(watched.probabilities(), shares, known)))
        assert known.any()
    assert told[1] < told[0] - 0.02


def guided(parts: Parts) -> Parts:
    """One thing fills all pictures, its parts in the same places; every reference has lambda 1."""
    parts.training.neighbours = replace(parts.training.neighbours, calibration=Calibration(-2.0, -1.0))
    assert parts.features is not None
    tokens = parts.features.stored.shape[1]
    side = round(tokens**0.5)
    line = torch.linspace(-1, 1, side)
    places = torch.stack([line.repeat(side), line.repeat_interleave(side)])

    def maps(count: int) -> SceneMaps:
        kinds = torch.zeros(count, tokens, dtype=torch.int64)
        return SceneMaps(kinds, places.expand(count, -1, -1))

    guide = Guide(maps(len(parts.training.pairs)), maps(len(parts.library)), side=side, pool=1)
    return replace(parts, guide=guide)


def test_drawn_scenes_guide_where_they_are_asked(config: LaddConfig, family_path: Path) -> None:
    asked = replace(config, alignment=replace(SETTINGS, guide=0.5))
    parts = assemble(asked, family_path, retrieves=True, device=torch.device("cpu"))
    assert parts.guide is not None
    assert len(parts.guide.pairs.kinds) == len(parts.training.pairs)
    assert len(parts.guide.entries.kinds) == len(parts.library)
    drawn = parts.guide.pairs.kinds[: config.pairs.count]
    assert (drawn == -1).all()  # nobody knows what the teacher drew where
    assert (parts.guide.pairs.kinds[config.pairs.count :] >= 0).any()


def test_a_guide_without_drawn_scenes_is_refused(parts: Parts) -> None:
    assert parts.guide is None  # nobody asked
    with pytest.raises(ValueError, match=r"\[alignment\] guide is 0.5, and these parts were made without"):
        Alignment(replace(SETTINGS, guide=0.5), parts, clip_norm=1.0, processes=Processes())


def test_without_an_adapter_there_is_nothing_to_align(config: LaddConfig, family_path: Path) -> None:
    parts = assemble(config, family_path, retrieves=False, device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"no adapter to align; leave \[alignment\] steps at 0"):
        Alignment(SETTINGS, parts, clip_norm=1.0, processes=Processes())
