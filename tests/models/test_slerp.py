"""Direct injection: on the sphere, and unharmed where there is no direction."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.models.slerp import combine_references, slerp


def maps(seed: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) * scale


@given(seed=st.integers(0, 1000), strength=st.floats(0, 1), scale=st.floats(1e-3, 1e3))
def test_the_norm_stays_and_the_references_norm_does_not_matter(
    seed: int, strength: float, scale: float
) -> None:
    h, reference = maps(seed), maps(seed + 1)
    mixed = slerp(h, reference, strength)
    torch.testing.assert_close(mixed.flatten(1).norm(dim=1), h.flatten(1).norm(dim=1), rtol=1e-4, atol=0)
    torch.testing.assert_close(mixed, slerp(h, reference * scale, strength), rtol=1e-3, atol=1e-4)


@given(seed=st.integers(0, 1000), strength=st.floats(0, 1))
def test_the_angle_is_shared_out_by_the_strength(seed: int, strength: float) -> None:
    h, reference = maps(seed).double(), maps(seed + 1).double()
    mixed = slerp(h, reference, strength)

    def angle(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (
            torch.cosine_similarity(left.flatten(1).double(), right.flatten(1).double()).clamp(-1, 1).acos()
        )

    torch.testing.assert_close(angle(h, mixed), strength * angle(h, reference), atol=2e-3, rtol=0)


def test_the_ends_are_the_two_sides() -> None:
    h, reference = maps(0), maps(1)
    assert torch.equal(slerp(h, reference, 0.0), h)
    end = slerp(h, reference, 1.0).flatten(1)
    torch.testing.assert_close(torch.cosine_similarity(end, reference.flatten(1)), torch.ones(3))


@pytest.mark.parametrize(
    "other", [torch.zeros(3, 4, 2, 2), maps(0), -maps(0)], ids=["zero", "same", "opposite"]
)
def test_where_there_is_no_angle_h_stays_about_as_it_is(other: torch.Tensor) -> None:
    mixed = slerp(maps(0), other, 0.2)
    assert mixed.isfinite().all()
    torch.testing.assert_close(mixed.flatten(1).norm(dim=1), maps(0).flatten(1).norm(dim=1))
    assert (
        torch.cosine_similarity(mixed.flatten(1), maps(0).flatten(1)).min() > 0.99
        or (other == -maps(0)).all()
    )


def test_references_are_weighed_by_lambda_and_left_out_at_zero() -> None:
    references = torch.stack([maps(1, 5.0), maps(2), maps(3)], dim=1)
    alone = combine_references(references, torch.tensor([[0.3, 0.0, 0.0]] * 3))
    torch.testing.assert_close(slerp(maps(0), alone, 0.5), slerp(maps(0), maps(1), 0.5))
    nothing = combine_references(references, torch.zeros(3, 3))
    assert torch.equal(slerp(maps(0), nothing, 0.5), maps(0))


def test_a_strength_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strength is 1\.5; it must be in \[0, 1\]"):
        slerp(maps(0), maps(1), 1.5)
