"""The judge: what its network's answers mean, what its file holds, and that it tells pictures apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training import precision
from training.data.render import Pixels, draw
from training.data.scene import Scene
from training.data.world import World
from training.evaluation import judge_training
from training.evaluation.judge import Judge, object_recall
from training.evaluation.judge_network import JudgeNetwork
from training.evaluation.judge_targets import NOTHING, UNDECIDED, Thing, judge_loss, make_targets
from training.evaluation.judge_training import format_errors, main, measure_errors, train_judge
from training.evaluation.reading import GROUNDS
from training.family.config import VaeConfig
from training.family.folder import save_part
from training.family.shapes import new_vae

CELLS = 8


@pytest.fixture(scope="module")
def pictures(asked: list[Scene]) -> Pixels:
    return np.stack([draw(scene, 32) for scene in asked])


def test_network_is_small_and_its_grid_has_four_pixels_a_cell() -> None:
    network = JudgeNetwork(64, len(GROUNDS))
    assert sum(weight.numel() for weight in network.parameters()) < 1_000_000
    logits, boxes, grounds = network(torch.zeros(2, 3, 64, 40))
    assert logits.shape == (2, 65, 16, 10)
    assert boxes.shape == (2, 3, 16, 10)
    assert grounds.shape == (2, len(GROUNDS))


def test_targets_put_a_thing_where_it_stands() -> None:
    targets = make_targets([[Thing(2, 0.5, 0.25, 0.4)]], [3], cells=CELLS, concepts=5)
    held = (targets.concepts[0] == 2).nonzero().tolist()
    assert held == [[row, column] for row in (1, 2, 3) for column in (3, 4, 5)]  # around cell (2, 4)
    assert (targets.concepts[0] == -100).sum() == 16  # the ring around them
    x, y, log_side = targets.boxes[0, :, 2, 4].tolist()
    assert (4 + 0.5 + x) / CELLS == pytest.approx(0.5)
    assert (2 + 0.5 + y) / CELLS == pytest.approx(0.25)
    assert np.exp(log_side) / CELLS == pytest.approx(0.4)
    assert targets.grounds.tolist() == [3]


@pytest.mark.parametrize(("label", "inside"), [(NOTHING, 5), (UNDECIDED, -100)])
def test_damaged_things_are_nothing_or_undecided(label: int, inside: int) -> None:
    targets = make_targets([[Thing(label, 0.5, 0.5, 0.4)]], [0], cells=CELLS, concepts=5)
    assert targets.concepts[0, 4, 4] == inside
    assert targets.concepts[0, 0, 0] == 5


def test_loss_is_zero_for_the_right_answer_and_large_for_a_wrong_one() -> None:
    targets = make_targets([[Thing(1, 0.4, 0.6, 0.3)]], [2], cells=CELLS, concepts=4)
    logits = 50.0 * torch.nn.functional.one_hot(targets.concepts.clamp(min=0), 5).permute(0, 3, 1, 2)
    grounds = 50.0 * torch.nn.functional.one_hot(targets.grounds, 6)
    assert judge_loss((logits, targets.boxes, grounds), targets) < 1e-6
    assert judge_loss((logits.roll(1, dims=1), targets.boxes, grounds), targets) > 10
    assert judge_loss((logits, targets.boxes + 1, grounds), targets) == pytest.approx(3)  # three coordinates


def test_detections_come_from_the_grid(tiny_world: World) -> None:
    """Two things of one concept four cells apart, each seen by nine cells, and a weak third one."""
    things = [Thing(0, 0.25, 0.5, 0.3), Thing(0, 0.75, 0.5, 0.3), Thing(6, 0.5, 0.1, 0.2)]
    targets = make_targets([things], [0], cells=16, concepts=len(tiny_world.names))
    empty = targets.concepts[0] == -100
    targets.concepts[0][empty] = len(tiny_world.names)
    probabilities = np.moveaxis(
        np.eye(len(tiny_world.names) + 1, dtype=np.float32)[targets.concepts[0]], 2, 0
    )
    probabilities[6] *= 0.4
    judge = Judge.untrained(tiny_world, resolution=64)
    reading = judge._reading(
        probabilities, targets.boxes[0].numpy(), np.eye(len(GROUNDS), dtype=np.float32)[4]
    )
    assert [(found.concept, round(found.x, 3), round(found.y, 3)) for found in reading.detections] == [
        ("cat", 0.25, 0.5),
        ("cat", 0.75, 0.5),
    ]
    assert reading.detections[0].size == pytest.approx(0.3)
    assert reading.evidence[tiny_world.names[6]] == pytest.approx(0.4)
    assert reading.ground == GROUNDS[4]


@pytest.mark.slow
def test_training_teaches_it_to_tell_pictures_apart(
    judge: Judge, asked: list[Scene], pictures: Pixels
) -> None:
    right, wrong = object_recall(judge, pictures, asked), object_recall(judge, pictures[::-1].copy(), asked)
    blank = object_recall(judge, np.full_like(pictures, 128), asked)
    assert right["all"] > 0.5
    assert right["first"] > 0.6
    assert right["ground"] > 0.9
    assert wrong["all"] < 0.5 * right["all"]
    assert blank["all"] < 0.1


@pytest.mark.slow
def test_errors_are_measured_on_right_and_on_wrong_pictures(judge: Judge, asked: list[Scene]) -> None:
    errors = measure_errors(judge, asked)
    assert set(errors) == {"drawn", "other_picture"}
    assert errors["drawn"]["all"] < 0.45
    assert errors["other_picture"]["all"] > 0.6
    assert errors["drawn"]["color"] < 0.1
    assert set(judge.errors) == set(errors)  # its training measured them too, and they survive its file
    table = format_errors(judge.errors)
    assert "drawn" in table
    assert f"{100 * judge.errors['drawn']['all']:.1f}" in table


@pytest.mark.slow
def test_reading_does_not_depend_on_the_batch(judge: Judge, pictures: Pixels) -> None:
    whole, single = judge.read(pictures[:6], batch=6), judge.read(pictures[:6], batch=1)
    for one, other in zip(whole, single, strict=True):
        assert [found.concept for found in one.detections] == [found.concept for found in other.detections]
        assert one.grounds == pytest.approx(other.grounds, abs=1e-5)


@pytest.mark.slow
def test_file_gives_the_same_judge_back_and_halves_the_weights(
    judge: Judge, judge_file: Path, pictures: Pixels
) -> None:
    again = Judge.load(judge_file)
    assert again.read(pictures[:4]) == judge.read(pictures[:4])
    assert (again.concepts, again.frequencies, again.errors) == (
        judge.concepts,
        judge.frequencies,
        judge.errors,
    )
    parameters = sum(weight.numel() for weight in judge.network.parameters())
    assert judge_file.stat().st_size < 2.1 * parameters
    assert not list(judge_file.parent.glob(".*"))


def test_recall_is_counted_by_training_frequency(judge: Judge, asked: list[Scene], pictures: Pixels) -> None:
    recall = object_recall(judge, pictures, asked)
    found = {name: [] for name in ("all", "common", "rare", "library_only")}
    for reading, scene in zip(judge.read(pictures), asked, strict=True):
        for name in scene.concepts:
            is_found = any(thing.concept == name for thing in reading.detections)
            found["all"].append(is_found)
            found[judge.frequencies[name]].append(is_found)
    assert {name: recall[name] for name in found} == {name: np.mean(hits) for name, hits in found.items()}


def test_missing_judge_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m training\.evaluation\.judge"):
        Judge.load(tmp_path / "judge.safetensors")


def test_other_safetensors_are_no_judge(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no judge"):
        Judge.load(tmp_path / "other.safetensors")


def test_judge_of_another_world_is_refused(tiny_world: World) -> None:
    judge = Judge.untrained(tiny_world, resolution=32)
    judge.check_world(tiny_world)
    with pytest.raises(ValueError, match="'frog' as rare, the family as common"):
        judge.check_world(World(common=tiny_world.names, rare=(), library_only=()))
    with pytest.raises(ValueError, match="'dog' as None"):
        judge.check_world(World(common=("dog", "cow", "pig"), rare=(), library_only=()))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 32, 30, 3), np.uint8),
        ((1, 32, 32, 3), np.float32),
        ((1, 3, 32, 32), np.uint8),
        ((0, 32, 32, 3), np.uint8),
    ],
)
def test_what_is_no_pictures_is_refused(tiny_world: World, shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ValueError, match="pictures must be"):
        Judge.untrained(tiny_world, resolution=32).read(np.zeros(shape, dtype=dtype))


def test_one_picture_per_scene(tiny_world: World, asked: list[Scene], pictures: Pixels) -> None:
    judge = Judge.untrained(tiny_world, resolution=32)
    with pytest.raises(ValueError, match="one picture per scene"):
        object_recall(judge, pictures[:3], asked)


def test_unknown_concepts_are_named(asked: list[Scene], pictures: Pixels) -> None:
    stranger = Judge.untrained(World(common=("dog", "cat", "cow"), rare=(), library_only=()), resolution=32)
    with pytest.raises(ValueError, match=r"not trained on \['apple'"):
        object_recall(stranger, pictures, asked)


@pytest.mark.parametrize("bfloat16_wins", [True, False])
def test_training_computes_in_bfloat16_only_where_that_is_faster(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bfloat16_wins: bool
) -> None:
    """A processor without AMX multiplies bfloat16 at half the speed of float32."""
    seen: list[tuple[str, bool]] = []

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: object) -> Any:
            seen.append((name, torch.is_autocast_enabled("cpu")))
            return function(*arguments)

        return noted

    monkeypatch.setattr(precision, "_bfloat16_wins", lambda: bfloat16_wins)
    monkeypatch.setattr(judge_training, "reconstruct", noting("autoencoder", judge_training.reconstruct))
    monkeypatch.setattr(JudgeNetwork, "forward", noting("network", JudgeNetwork.forward))
    save_part(new_vae(VaeConfig(block_out_channels=(8, 8), latent_channels=2), 32), tmp_path / "vae")
    with torch.random.fork_rng(devices=[]):
        out = tmp_path / "judge.safetensors"
        train_judge(tiny_world, out, resolution=32, steps=1, vae_folder=tmp_path / "vae", held_out=2)
    assert seen[:2] == [("autoencoder", bfloat16_wins), ("network", bfloat16_wins)]


@pytest.mark.parametrize(
    ("raised", "status"), [(FloatingPointError("loss is nan"), 2), (KeyboardInterrupt(), 130)]
)
def test_a_training_that_stops_is_one_line_and_a_status(
    raised: BaseException,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(judge_training, "train_judge", stop)
    config = Path(__file__).parents[2] / "training" / "configs" / "emoji.toml"
    assert main(["--config", str(config), "--out", str(tmp_path / "judge.safetensors")]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_command_without_its_config_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml"), "--out", str(tmp_path / "judge.safetensors")]) == 2
    assert "none.toml" in capsys.readouterr().err
