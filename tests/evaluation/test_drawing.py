"""The rows' pictures: each drawn as it says, from the noise that all share."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.sampler import Schedule
from training.evaluation.drawing import draw_in_one_step, draw_with_teacher, with_lora
from training.evaluation.references import (
    PromptReferences,
    find_references,
    read_features,
    reference_features,
)
from training.family.folder import Family, family_hashes, load_teacher
from training.family.grid import to_uint8
from training.family.sampling import draw_prompts
from training.ladd.setup import encode_library
from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import CheckpointError, load_adapter

PROMPTS = ("a cat on a red background", "two buses left of a dog at the beach")
SEEDS = (3, 4)


def test_base_is_what_the_whole_unet_draws(family: Family) -> None:
    """Through the split halves, against `UNet2DConditionModel.forward`."""
    whole = draw_prompts(
        family.unet, family.vae, family.text, PROMPTS, steps=1, guidance_scale=1.0, first_seed=3
    )
    assert np.array_equal(draw_in_one_step(family, family.unet, PROMPTS, SEEDS), to_uint8(whole))


def test_each_picture_depends_on_its_own_prompt_and_seed_alone(family: Family) -> None:
    both = draw_in_one_step(family, family.unet, PROMPTS, SEEDS).astype(int)
    alone = draw_in_one_step(family, family.unet, PROMPTS[1:], SEEDS[1:]).astype(int)
    assert np.abs(both[1] - alone[0]).max() <= 1
    assert np.abs(draw_in_one_step(family, family.unet, PROMPTS, (5, 4)).astype(int) - both)[0].max() > 1


def test_an_untrained_adapter_draws_the_base(family: Family) -> None:
    untrained = HSpaceAdapter(64, num_attention_heads=4)
    drawn = draw_in_one_step(
        family,
        family.unet,
        PROMPTS,
        SEEDS,
        adapter=untrained,
        reference_h=torch.randn(2, 3, 16, 64),
        reference_weight=torch.ones(2, 3),
    )
    assert np.array_equal(drawn, draw_in_one_step(family, family.unet, PROMPTS, SEEDS))


def test_a_trained_adapter_looks_at_its_references_and_not_at_masked_ones(
    family: Family, family_path: Path
) -> None:
    adapter = load_adapter(family_path / "adapter.safetensors").build_adapter()
    base = draw_in_one_step(family, family.unet, PROMPTS, SEEDS)

    def drawn(seed: int, weight: float) -> np.ndarray:
        reference_h = torch.randn(2, 3, 16, 64, generator=torch.Generator().manual_seed(seed))
        return draw_in_one_step(
            family,
            family.unet,
            PROMPTS,
            SEEDS,
            adapter=adapter,
            reference_h=reference_h,
            reference_weight=torch.full((2, 3), weight),
        )

    assert not np.array_equal(drawn(0, 1.0), base)
    assert not np.array_equal(drawn(0, 1.0), drawn(1, 1.0))
    assert np.array_equal(drawn(0, 0.0), base)


def test_lora_changes_a_copy_and_not_the_family(family: Family, family_path: Path) -> None:
    before = draw_in_one_step(family, family.unet, PROMPTS, SEEDS)
    with_it = with_lora(family, load_adapter(family_path / "lora_only.safetensors"))
    assert not any("lora" in name for name, _ in with_it.named_modules())
    assert not np.array_equal(draw_in_one_step(family, with_it, PROMPTS, SEEDS), before)
    assert np.array_equal(draw_in_one_step(family, family.unet, PROMPTS, SEEDS), before)


def test_an_adapter_of_another_base_is_refused(family: Family, family_path: Path, tmp_path: Path) -> None:
    from training.family.random_family import random_family

    other = Family(**{**vars(family), "path": random_family(tmp_path / "other", seed=1)})
    with pytest.raises(CheckpointError, match="trained on another base"):
        with_lora(other, load_adapter(family_path / "adapter.safetensors"))


def test_an_adapter_of_another_configuration_is_refused(family_path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(family_path, tmp_path / "other"))
    config = json.loads((other / "vae" / "config.json").read_text())
    (other / "vae" / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    adapter = load_adapter(family_path / "adapter.safetensors")
    with pytest.raises(CheckpointError, match="trained on another base: configs has sha256"):
        adapter.check_base(family_hashes(other))
    known = {part: value for part, value in adapter.metadata.base_hashes.items() if part != "configs"}
    older = replace(adapter, metadata=replace(adapter.metadata, base_hashes=known))
    older.check_base(family_hashes(other))  # written before configs were hashed: it cannot tell


def test_teacher_follows_ddim(family: Family, family_path: Path) -> None:
    """Against DDIM written out (Song et al., 2021, equation 12, eta 0) on the runtime's own schedule."""
    teacher = load_teacher(family_path)
    drawn = draw_with_teacher(family, teacher, PROMPTS, SEEDS, steps=4, guidance_scale=2.5)
    schedule = Schedule.from_manifest(family.scheduler)
    abar = torch.from_numpy(schedule.alphas_cumprod)
    x = torch.from_numpy(batch_noise(SEEDS, (4, 8, 8))).double()
    with_prompt, without = family.text.encode(list(PROMPTS))[0], family.text.encode([""])[0].expand(2, -1, -1)
    timesteps = schedule.timesteps(4)
    with torch.no_grad():
        for t, next_t in zip(timesteps, (*timesteps[1:], None), strict=True):
            v = [
                teacher(x.float(), t, encoder_hidden_states=e).sample.double() for e in (without, with_prompt)
            ]
            guided = v[0] + 2.5 * (v[1] - v[0])
            clean = abar[t].sqrt() * x - (1 - abar[t]).sqrt() * guided
            noise = abar[t].sqrt() * guided + (1 - abar[t]).sqrt() * x
            following = torch.tensor(1.0).double() if next_t is None else abar[next_t]
            x = following.sqrt() * clean + (1 - following).sqrt() * noise
        expected = to_uint8(family.vae.decode(x.float() / family.vae.config.scaling_factor).sample)
    assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1


@given(count=st.integers(2, 40), seed=st.integers(0, 1000))
def test_wrong_references_are_another_prompts_with_the_own_weights(count: int, seed: int) -> None:
    rows = np.arange(count, dtype=np.int64)[:, None].repeat(2, axis=1)
    weights = np.random.default_rng(0).random((count, 2), dtype=np.float32)
    wrong = PromptReferences(rows, weights).of_other_prompts(seed=seed)
    assert (wrong.rows[:, 0] != rows[:, 0]).all()
    assert sorted(wrong.rows[:, 0]) == list(range(count))
    assert np.array_equal(wrong.weights, weights)


def test_one_prompt_has_no_wrong_references() -> None:
    only = PromptReferences(np.zeros((1, 2), dtype=np.int64), np.ones((1, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="at least two prompts"):
        only.of_other_prompts(seed=0)


def test_a_caption_of_the_library_finds_itself(family: Family, family_path: Path) -> None:
    metadata = load_adapter(family_path / "adapter.safetensors").metadata
    library = encode_library(family, family.world)
    found = find_references(family, library, metadata, library.captions[:6])
    assert found.rows.shape == found.weights.shape == (6, 3)
    assert [library.captions[row] for row in found.rows[:, 0]] == list(library.captions[:6])
    assert found.weights[:, 0] == pytest.approx(1, abs=2e-3)
    features = read_features(reference_features(family, library, metadata), found.rows)
    assert features.shape == (6, 3, 16, 64)
