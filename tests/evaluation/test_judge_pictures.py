"""What the judge is trained on: even, damaged as it says, and never the benchmark."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from training.data.render import draw
from training.data.splits import scene, split_of
from training.data.world import World
from training.evaluation.judge_faults import add_faults, reconstruct
from training.evaluation.judge_pictures import _DAMAGES, DAMAGED_SHARE, _Case, even_world, picture
from training.evaluation.judge_targets import NOTHING, UNDECIDED
from training.family.config import VaeConfig
from training.family.shapes import new_vae


def test_same_index_same_picture(tiny_world: World) -> None:
    world = even_world(tiny_world)
    first, again = picture(world, 5, resolution=32), picture(world, 5, resolution=32)
    assert np.array_equal(first.pixels, again.pixels)
    assert (first.things, first.ground) == (again.things, again.ground)
    assert not np.array_equal(first.pixels, picture(world, 6, resolution=32).pixels)


def test_every_concept_is_as_frequent_however_rare_in_the_family(tiny_world: World) -> None:
    drawn = [picture(even_world(tiny_world), index, resolution=16) for index in range(1500)]
    counts = Counter(thing.label for one in drawn for thing in one.things if thing.label >= 0)
    assert set(counts) == set(range(len(tiny_world.names)))
    assert max(counts.values()) < 1.4 * min(counts.values())


def test_no_scene_of_the_benchmark_is_ever_shown(tiny_world: World) -> None:
    world = even_world(tiny_world)
    assert {split_of(scene(world, "train", index).composition) for index in range(300)} == {"train"}


def test_share_of_damaged_pictures(tiny_world: World) -> None:
    world = even_world(tiny_world)
    differ = [
        not np.array_equal(
            picture(world, index, resolution=32).pixels, draw(scene(world, "train", index), 32)
        )
        for index in range(600)
    ]
    assert abs(np.mean(differ) - DAMAGED_SHARE) < 0.08  # a few damages hardly change a pixel


def test_every_damage_stays_near_its_thing_and_ends_as_some_label(tiny_world: World) -> None:
    world = even_world(tiny_world)
    for damage in _DAMAGES:
        labels = set()
        for index in range(60):
            shown = scene(world, "train", index)
            case = _Case(np.random.default_rng(index), world, shown, 0, 64)
            canvas, label = damage(case)
            labels.add("thing" if label >= 0 else label)
            changed = np.argwhere(np.abs(canvas - draw(shown, 64)).max(axis=2) > 1)
            rows, columns = case.window
            margin = (rows.stop - rows.start) // 2
            if len(changed):
                assert changed[:, 0].min() >= rows.start - margin
                assert changed[:, 0].max() < rows.stop + margin
                assert changed[:, 1].min() >= columns.start - margin
                assert changed[:, 1].max() < columns.stop + margin
        assert NOTHING in labels
        if damage.__name__ in ("_fade", "_mix"):
            assert labels == {NOTHING, UNDECIDED, "thing"}


def test_faults_keep_shape_and_range_and_leave_some_pictures_almost_clean() -> None:
    pictures = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.nn.functional.avg_pool2d(pictures, 9, stride=1, padding=4)
    faulty = add_faults(smooth, torch.Generator().manual_seed(1))
    assert faulty.shape == smooth.shape
    assert faulty.abs().max() <= 1
    change = (faulty - smooth).abs().mean(dim=(1, 2, 3))
    assert 0.1 < (change < 0.01).float().mean() < 0.5
    assert change.max() > 0.03
    assert torch.equal(faulty, add_faults(smooth, torch.Generator().manual_seed(1)))


def test_reconstructions_come_from_the_familys_autoencoder() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = new_vae(VaeConfig(block_out_channels=(8, 8, 8)), 32).eval()
    pictures = torch.rand(4, 3, 32, 32) * 2 - 1
    rebuilt = reconstruct(vae, pictures, torch.Generator().manual_seed(0))
    assert rebuilt.shape == pictures.shape
    assert rebuilt.abs().max() <= 1
    with torch.no_grad():
        plain = vae.decode(vae.encode(pictures).latent_dist.mode()).sample.clamp(-1, 1)
    close = (rebuilt - plain).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert close.any()  # half of them get no noise on their latents
    assert not close.all()
