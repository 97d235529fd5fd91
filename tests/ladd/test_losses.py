"""The losses, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from training.ladd.losses import discriminator_loss, generator_loss, perceptual_distance, smooth_l1


def test_hinge_by_hand() -> None:
    real, fake, misaligned = (
        [torch.tensor([2.0, 0.5])],
        [torch.tensor([-3.0, 0.0])],
        [torch.tensor([1.0, -0.5])],
    )
    # relu(1 - real) = (0, 0.5); relu(1 + fake) = (0, 1); relu(1 + misaligned) = (2, 0.5)
    assert discriminator_loss(real, fake, misaligned).item() == pytest.approx(0.25 + (0.5 + 1.25) / 2)
    assert discriminator_loss(real, fake, []).item() == pytest.approx(0.25 + 0.5)


def test_heads_count_alike_whatever_their_size() -> None:
    real, fake = (
        [torch.zeros(4), torch.zeros(2, 1, 8, 8)],
        [torch.full((4,), 1.0), torch.full((2, 1, 8, 8), 3.0)],
    )
    assert discriminator_loss(real, fake, []).item() == pytest.approx(((1 + 2) + (1 + 4)) / 2)


def test_signs() -> None:
    """The heads want real up and all fakes down; the student wants its own up."""
    logits = {kind: torch.zeros(3, requires_grad=True) for kind in ("real", "fake", "misaligned")}
    discriminator_loss([logits["real"]], [logits["fake"]], [logits["misaligned"]]).backward()
    assert (logits["real"].grad < 0).all()
    assert (logits["fake"].grad > 0).all()
    assert (logits["misaligned"].grad > 0).all()
    own = torch.zeros(3, requires_grad=True)
    generator_loss([own]).backward()
    assert (own.grad < 0).all()


def test_hinge_lets_go_beyond_its_margin() -> None:
    real, fake = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    discriminator_loss([real], [fake], []).backward()
    assert real.grad.item() == fake.grad.item() == 0


def test_smooth_l1_by_hand() -> None:
    denoised, target = torch.tensor([[0.0, 0.5, 3.0]]), torch.zeros(1, 3)
    assert smooth_l1(denoised, target).item() == pytest.approx((0 + 0.125 + 2.5) / 3)
    assert smooth_l1(denoised, target, beta=0.1).item() == pytest.approx((0 + 0.45 + 2.95) / 3)


def test_perceptual_distance_by_hand() -> None:
    one = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)  # unit: 0.6, 0.8
    other = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)  # unit: 0, 1
    expected = 0.6**2 + 0.2**2
    assert perceptual_distance([one], [other]).item() == pytest.approx(expected, rel=1e-5)
    assert perceptual_distance([one, one], [other, one]).item() == pytest.approx(expected / 2, rel=1e-5)
    assert perceptual_distance([one], [10 * one]).item() == pytest.approx(0, abs=1e-6)


def test_perceptual_distance_has_a_gradient_where_features_vanish() -> None:
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    perceptual_distance([features], [torch.ones(1, 4, 2, 2)]).backward()
    assert torch.isfinite(features.grad).all()
