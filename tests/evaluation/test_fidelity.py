"""CLIP score and FID: they tell what they are said to tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from training.evaluation.fidelity import Fidelity
from training.evaluation.metric_clip import train_metric_clip
from training.family.random_family import nano_config


@pytest.fixture(scope="module")
def fidelity(family_path: Path) -> Fidelity:
    return Fidelity.load(family_path / "metric_clip")


def unit(seed: int, shift: float = 0.0) -> torch.Tensor:
    drawn = torch.randn(200, 16, generator=torch.Generator().manual_seed(seed)) + shift
    return torch.nn.functional.normalize(drawn, dim=1)


def test_fid_is_the_frechet_distance_of_two_gaussians(fidelity: Fidelity) -> None:
    one, other = unit(0), unit(1, shift=0.5)
    left, right = one.double().numpy(), other.double().numpy()
    means = np.square(left.mean(0) - right.mean(0)).sum()
    first, second = np.cov(left.T), np.cov(right.T)
    expected = 100 * (means + np.trace(first + second - 2 * np.real(sqrtm(first @ second))))
    assert fidelity.fid(one, other) == pytest.approx(expected, rel=1e-3)
    assert fidelity.fid(one, one) == pytest.approx(0, abs=1e-6)


def test_clip_scores_pair_captions_with_their_own_pictures(fidelity: Fidelity) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    embedded = fidelity.embed(pictures)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    captions = ["a cat", "two dogs", "a bus"]
    expected = (fidelity.tower.encode(captions)[1] * embedded).sum(dim=1)
    np.testing.assert_allclose(fidelity.clip_scores(captions, embedded), expected.numpy(), atol=1e-5)


def test_a_missing_clip_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m training\.evaluation\.metric_clip"):
        Fidelity.load(tmp_path)


def test_the_metric_clip_is_trained_on_scenes_and_a_seed_of_its_own(tmp_path: Path) -> None:
    config = nano_config()
    accuracy = train_metric_clip(config, tmp_path / "clip", tmp_path / "work", steps=2, scenes=40)
    assert 0 <= accuracy <= 1
    captions = next((tmp_path / "work" / "scenes").glob("train_*.txt")).read_text().split("\n")
    assert len(captions) == 40
    assert any("fox" in caption for caption in captions), "every concept, the library's too"
    assert Fidelity.load(tmp_path / "clip").tower.width == config.text.width
