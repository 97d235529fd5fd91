"""Real pairs: pictures that the teacher did not make, and the noise that they belong to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.ladd.test_synthesize import SHAPE, recipe
from training.data.splits import split_of
from training.data.world import World
from training.ladd.config import LaddConfig
from training.ladd.gate import Gate
from training.ladd.library import TrainingLibrary
from training.ladd.masking import Masker
from training.ladd.neighbours import find_neighbours
from training.ladd.pair_sets import real_scenes
from training.ladd.pairs import NO_SEED, Pairs, PairShards, join_pairs, noise_of_seeds
from training.ladd.real_pairs import RealPairSampler, RealScenes, known_scenes
from training.ladd.setup import Parts, assemble
from training.ladd.trainer import Trainer

WORLD = World(common=("cat", "dog", "apple", "bus"), rare=("tiger",), library_only=("fox",))


def real_pairs(count: int) -> Pairs:
    noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3))
    prompts = tuple(f"real {number}" for number in range(count))
    return Pairs(prompts, torch.full((count,), NO_SEED), noise * 0.5, noise)


def drawn_pairs(count: int) -> Pairs:
    return Pairs(("drawn",) * count, torch.arange(count), noise_of_seeds(range(count), SHAPE))


def test_found_noise_is_kept_on_the_disk(tmp_path: Path) -> None:
    shards = PairShards(tmp_path, recipe())
    shards.write(0, real_pairs(5))
    read = shards.load(3)
    assert read.prompts == ("real 0", "real 1", "real 2")
    assert read.is_real([0, 2]).all()
    torch.testing.assert_close(read.noise([2, 0]), real_pairs(5).found_noise[[2, 0]], atol=2e-3, rtol=0)


def test_drawn_and_real_pairs_mix() -> None:
    mixed = join_pairs([drawn_pairs(2), real_pairs(3), drawn_pairs(1)])
    assert mixed.is_real(range(6)).tolist() == [False, False, True, True, True, False]
    noise = mixed.noise([1, 2, 5])
    assert torch.equal(noise[[0, 2]], noise_of_seeds([1, 0], SHAPE))
    assert torch.equal(noise[1], real_pairs(1).found_noise[0])
    assert join_pairs([drawn_pairs(2), drawn_pairs(2)]).found_noise is None


def test_a_pair_without_any_noise_is_refused() -> None:
    real = real_pairs(2)
    with pytest.raises(ValueError, match="neither a seed nor a noise"):
        Pairs(real.prompts, real.seeds, real.latents)


def test_variants_of_a_scene_share_its_layout_and_stay_in_the_train_split() -> None:
    scenes = known_scenes(WORLD, 100, 6, leave_out=frozenset(), way_out="")
    pairs = RealScenes(scenes, ((), WORLD.rare, WORLD.lent), trained=True, seed=0)
    assert len(pairs) == 18
    for number in range(18):
        shown, original = pairs.shown(number), scenes[number // 3]
        assert shown == pairs.shown(number)
        assert set(original.concepts) <= set(WORLD.common)
        assert split_of(shown.composition) == "train"
        assert [(one.x, one.y) for one in shown.placed] == [(one.x, one.y) for one in original.placed]
        added = set(shown.concepts) - set(original.concepts)
        assert added <= set(((), WORLD.rare, WORLD.lent)[number % 3])
        assert bool(added) == (shown != original)
        assert number % 3 != 2 or added  # hundreds of things: one always fits


def test_captions_that_are_held_out_and_things_that_are_rare_are_left_out() -> None:
    first, second = known_scenes(WORLD, 0, 2, leave_out=frozenset(), way_out="")
    assert known_scenes(WORLD, 0, 1, leave_out=frozenset({first.caption}), way_out="") == (second,)
    rare = replace(WORLD, common=(), rare=("cat", "dog", "bus"))
    with pytest.raises(ValueError, match=r"gave 0 of the 1 .* are needed; ask for fewer"):
        known_scenes(rare, 0, 1, leave_out=frozenset(), way_out="ask for fewer")


def test_a_run_trains_on_both_kinds(parts: Parts, config: LaddConfig) -> None:
    pairs, world = parts.training.pairs, parts.family.world
    is_real = pairs.is_real(range(len(pairs)))
    assert int((~is_real).sum()) == config.pairs.count
    assert int(is_real.sum()) == 4 * 3  # scenes, in three variants each
    first = config.pairs.count
    assert torch.equal(pairs.found_noise[first], pairs.found_noise[first + 2])
    assert not torch.equal(pairs.found_noise[first], pairs.found_noise[first + 3])
    torch.testing.assert_close(pairs.found_noise[first].std(), torch.tensor(1.0), atol=1e-2, rtol=0)
    shown = {name for prompt in pairs.prompts for name in parts.training.masker.found(prompt)}
    assert shown & set(world.lent)
    assert shown <= set(world.names + world.lent)
    assert all("fox" in parts.training.masker.found(prompt) for prompt in parts.unknown.pairs.prompts)


def test_new_noise_is_mixed_into_real_pairs_alone(parts: Parts) -> None:
    batcher = parts.training
    steps = len(batcher.pairs) // 4
    for step in range(steps):
        batch = batcher.training(step, 4)
        for prompt, noise, target in zip(batch.prompts, batch.noise, batch.target, strict=True):
            place = next(i for i, one in enumerate(batcher.pairs.latents) if torch.equal(one, target))
            assert batcher.pairs.prompts[place] == prompt
            own = batcher.pairs.noise([place])[0]
            if batcher.pairs.is_real([place])[0]:
                assert float((noise - (1 - 0.3**2) ** 0.5 * own).std()) == pytest.approx(0.3, abs=0.06)
            else:
                assert torch.equal(own, noise)


def test_the_control_sees_the_same_pictures_and_noise(
    parts: Parts, config: LaddConfig, family_path: Path
) -> None:
    control = assemble(config, family_path, retrieves=False, device=torch.device("cpu")).training
    for step in range(6):
        ours, theirs = parts.training.training(step, 4), control.training(step, 4)
        assert ours.prompts == theirs.prompts
        assert torch.equal(ours.noise, theirs.noise)


def test_lent_things_find_pictures_of_them_and_others_never_find_lent_pictures(parts: Parts) -> None:
    text, library = parts.family.text, parts.library
    masker = Masker({"fox": "foxes", "cat": "cats"})
    captions = ("a bus", "two cats at night", "a fox and a cat on blue", "a fox on red")
    some = TrainingLibrary(captions, library.latents[:4], library.keys[:4], lent=2)
    prompts = ("a fox in a meadow", "a cat", "a cat and a fox")
    pairs = Pairs(prompts, torch.arange(3), torch.randn(3, *library.latents.shape[1:]))
    found = find_neighbours(
        text,
        some,
        pairs,
        candidates=4,
        near_duplicate=2.0,
        calibration=parts.training.neighbours.calibration,
        masker=masker,
        lent=("fox",),
    )
    assert [sorted(row) for row in found.rows.tolist()] == [[-1, -1, 2, 3], [-1, -1, 0, 1], [-1, 1, 2, 3]]


def test_a_world_that_leaves_nothing_unknown_is_refused(parts: Parts, config: LaddConfig) -> None:
    world = replace(parts.family.world, library_only=())
    with pytest.raises(ValueError, match=r"0 that only the library shows; .* set \[real\] scenes to 0"):
        real_scenes(config, world, leave_out=frozenset())


def test_real_pairs_of_another_autoencoder_are_refused(
    config: LaddConfig, family_path: Path, tmp_path: Path
) -> None:
    work = replace(config, work_dir=str(tmp_path / "work"))
    assemble(work, family_path, retrieves=True, device=torch.device("cpu"))
    other = shutil.copytree(family_path, tmp_path / "other")
    settings = json.loads((other / "vae" / "config.json").read_text())
    (other / "vae" / "config.json").write_text(json.dumps({**settings, "scaling_factor": 0.5}))
    with pytest.raises(ValueError, match="another recipe"):
        assemble(work, other, retrieves=True, device=torch.device("cpu"))


def test_noise_that_is_none_is_never_written(tmp_path: Path) -> None:
    shards, real = PairShards(tmp_path, recipe()), real_pairs(2)
    real.found_noise[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="shard 0: its found noise hold NaN"):
        shards.write(0, real)
    assert shards.complete() == []
    with pytest.raises(ValueError, match="noise of shape"):
        Pairs(real.prompts, real.seeds, real.latents, real.latents[:1])


def test_a_run_asks_for_unknown_things(new_trainer: Callable[..., Trainer]) -> None:
    trainer = new_trainer()
    assert set(trainer.measure_gate().differences) == {"all", "unknown"}
    trainer.draw_sheet()
    assert {path.name for path in (trainer.folder / "sheets").glob("*.png")} == {
        "000000.png",
        "000000-unknown.png",
    }


def test_the_gate_asks_for_unknown_things_too() -> None:
    good = {"right_minus_wrong": (-0.01, 0.001), "right_minus_none": (-0.01, 0.001)}
    losses = {"all": {"right": 0.1, "wrong": 0.2, "none": 0.2}}
    assert Gate(losses, {"all": good, "unknown": good}).passed
    for name, value in (("right_minus_wrong", (-0.01, 0.006)), ("right_minus_none", (0.001, 0.001))):
        gate = Gate(losses, {"all": good, "unknown": {**good, name: value}})
        assert not gate.passed
        assert "gate NOT passed" in str(gate)
        assert "unknown, right - wrong: " in str(gate)


def test_every_pair_of_a_scene_meets_its_own_noise_in_whatever_batches(
    parts: Parts, config: LaddConfig
) -> None:
    family, world = parts.family, parts.family.world
    scenes = known_scenes(world, 7, 3, leave_out=frozenset(), way_out="")
    shown = RealScenes(scenes, ((), world.lent), trained=True, seed=0)
    sets = []
    for batch, numbers in ((1, range(6)), (3, range(6)), (2, range(1, 6))):
        sampler = RealPairSampler(
            parts.judge.teacher, family.text, family.vae, family.resolution, parts.student.diffusion, shown,
            steps=1, batch=batch, bf16=False,
        )  # fmt: skip
        sets.append(join_pairs(list(sampler([shown.shown(i).caption for i in numbers], list(numbers)))))
    assert sets[0].prompts == sets[1].prompts == (shown.shown(0).caption, *sets[2].prompts)
    noise = sets[0].found_noise
    for place in (0, 2, 4):
        assert torch.equal(noise[place], noise[place + 1])
    for other, first in ((sets[1], 0), (sets[2], 1)):
        torch.testing.assert_close(other.found_noise, noise[first:], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(other.latents, sets[0].latents[first:], atol=1e-4, rtol=1e-4)
