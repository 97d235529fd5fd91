"""LPIPS with VGG16: the package's own numbers, on decoded latents, from the user's weights."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.family.folder import Family
from training.ladd.config import LaddConfig, LossesConfig
from training.ladd.config_file import parse_ladd_config
from training.ladd.setup import assemble
from training.ladd.trainer import Trainer
from training.ladd.vgg_distance import VggDistance, new_lpips
from training.parallel import Processes

LAYERS = {
    0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512
}  # fmt: skip
"""torchvision's vgg16: place in `features` -> channels."""
CPU = torch.device("cpu")


def random_vgg16() -> dict[str, torch.Tensor]:
    """A state dict in torchvision's layout, its classifier left small: nobody reads it."""
    generator, channels = torch.Generator().manual_seed(0), 3
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for place, width in LAYERS.items():
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * scale
        state[f"features.{place}.bias"] = torch.randn(width, generator=generator) * 0.01
        channels = width
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(random_vgg16(), path)
    return path


def some_latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_it_is_what_the_package_says_of_the_decoded_pictures(weights: Path, family: Family) -> None:
    one, other = some_latents(0), some_latents(1)
    with torch.no_grad():
        pixels = [family.vae.decode(some / family.vae.config.scaling_factor).sample for some in (one, other)]
        expected = new_lpips(weights)(*pixels).mean()
        found = VggDistance(weights, family.vae)(one, other)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    assert float(found) > 1e-3


def test_equal_latents_have_no_distance_and_a_finite_gradient(weights: Path, family: Family) -> None:
    distance, one = VggDistance(weights, family.vae), some_latents(0)
    assert float(distance(one, one)) == 0
    moved = some_latents(0).requires_grad_()
    distance(moved, some_latents(1)).backward()
    assert torch.isfinite(moved.grad).all()
    assert moved.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_the_layers_are_the_calibrated_ones(weights: Path) -> None:
    """Not random, not negative: LPIPS 0.1's sums, from the package's own file."""
    sums = [float(lin.model[1].weight.sum()) for lin in new_lpips(weights).lins]
    import lpips

    shipped = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth", map_location="cpu", weights_only=True
    )
    expected = [float(shipped[f"lin{place}.model.1.weight"].clamp(min=0).sum()) for place in range(5)]
    assert sums == pytest.approx(expected)
    assert min(sums) > 0


def test_safetensors_say_the_same(weights: Path, tmp_path: Path) -> None:
    save_file(random_vgg16(), tmp_path / "vgg16.safetensors")
    one, other = new_lpips(weights), new_lpips(tmp_path / "vgg16.safetensors")
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


class Planted:
    """Would make a folder if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_bad_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"perceptual_weights: .*none\.pth is not there; give torchvision's"
    ):
        new_lpips(tmp_path / "none.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cut\.pth: cannot be read .* give torchvision's vgg16"):
        new_lpips(cut)
    planted = tmp_path / "planted.pth"
    planted.write_bytes(pickle.dumps(Planted(tmp_path / "made")))
    with pytest.raises(ValueError, match=r"planted\.pth: cannot be read"):
        new_lpips(planted)
    assert not (tmp_path / "made").exists()
    other = tmp_path / "other.pth"
    torch.save({**random_vgg16(), "features.28.weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=r"features\.28\.weight is \(3,\), VGG16's is \(512, 512, 3, 3\)"):
        new_lpips(other)
    torch.save({**random_vgg16(), "features.0.bias": torch.full((64,), torch.nan)}, other)
    with pytest.raises(ValueError, match=r"features\.0\.bias holds NaN"):
        new_lpips(other)


def trainer_with(config: LaddConfig, family_path: Path, folder: Path, losses: LossesConfig) -> Trainer:
    changed = replace(config, losses=losses)
    parts = assemble(changed, family_path, retrieves=True, device=CPU)
    return Trainer(changed, parts, folder, processes=Processes(), retrieves=True)


def test_a_run_learns_from_it(config: LaddConfig, family_path: Path, weights: Path, tmp_path: Path) -> None:
    losses = replace(
        config.losses,
        perceptual_network="vgg",
        perceptual_weights=str(weights),
        smooth_l1=0.0,
        adversarial=0.0,
    )
    trainer = trainer_with(config, family_path, tmp_path, losses)
    metrics = [trainer.train_step(1) for _ in range(8)]
    assert metrics[0]["gradient/perceptual"] > 0
    assert metrics[-1]["loss/perceptual"] < metrics[0]["loss/perceptual"]
    trainer.save()
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(weights.read_bytes())
    moved = trainer_with(config, family_path, tmp_path, replace(losses, perceptual_weights=str(elsewhere)))
    moved.resume()  # where the file lies is no other run
    with pytest.raises(ValueError, match=r"losses\.perceptual_network: 'vgg' there"):
        trainer_with(config, family_path, tmp_path, config.losses).resume()


def test_none_leaves_it_out(config: LaddConfig, family_path: Path, tmp_path: Path) -> None:
    trainer = trainer_with(config, family_path, tmp_path, replace(config.losses, perceptual_network="none"))
    metrics = trainer.train_step(0)
    assert not any("perceptual" in name for name in metrics)
    assert metrics["gradient/student"] > 0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            {"perceptual_network": "vgg"},
            'perceptual_network is "vgg", perceptual_weights ""; give the weights',
        ),
        (
            {"perceptual_weights": "vgg16.pth"},
            'perceptual_network is "teacher", perceptual_weights "vgg16.pth"',
        ),
        ({"perceptual_network": "alex"}, "perceptual_network"),
    ],
)
def test_a_network_has_its_weights_and_no_other(losses: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ladd_config({"family": "a", "work_dir": "b", "losses": losses}, "test")
