"""The guide knows which tokens of a reference show the same part of the same thing."""

from __future__ import annotations

import pytest
import torch

from training.data.scene import Composition, Placed, Scene
from training.ladd.guide import Guide, WatchedAttention, guide_loss
from training.models.adapter import HSpaceAdapter

SIDE = 8


def shown(*placed: Placed) -> Scene:
    return Scene("train", 0, Composition((), "red", None, None), placed, "")


def cell(across: float, down: float) -> int:
    return int(down * SIDE) * SIDE + int(across * SIDE)


LEFT_FOX = shown(Placed("fox", 0.25, 0.5, 0.5))
RIGHT_FOX = shown(Placed("fox", 0.75, 0.5, 0.5), Placed("pear", 0.25, 0.5, 0.4))
PEAR = shown(Placed("pear", 0.5, 0.5, 0.5))
FOUND = torch.tensor([[0, 1]])


def guide(pool: int) -> Guide:
    return Guide.of([None, LEFT_FOX], [RIGHT_FOX, PEAR], side=SIDE, pool=pool)


def test_a_cell_looks_at_the_same_part_wherever_the_thing_stands() -> None:
    shares, known = guide(1).shares([1], FOUND, torch.ones(1, 2))
    assert shares.shape == (1, SIDE**2, 2 * SIDE**2)
    for across, down in ((0.2, 0.4), (0.3, 0.6), (0.2, 0.6)):
        assert known[0, cell(across, down)]
        assert int(shares[0, cell(across, down)].argmax()) == cell(across + 0.5, down)
    torch.testing.assert_close(shares[known].sum(dim=1), torch.ones(int(known.sum())))
    assert float(shares[known][:, SIDE**2 :].sum()) == 0  # no fox in the pear's picture
    assert float(shares[known][:, [cell(0.2, 0.4), cell(0.3, 0.6)]].sum()) == 0  # nor where the pear stands
    assert not known[0, cell(0.8, 0.5)]  # ground


def test_tokens_hold_what_their_cells_hold() -> None:
    fine, _ = guide(1).shares([1], FOUND, torch.ones(1, 2))
    coarse, _ = guide(2).shares([1], FOUND, torch.ones(1, 2))
    pooled = fine.reshape(1, SIDE**2, 2, 4, 2, 4, 2).sum(dim=(4, 6)).flatten(2)
    torch.testing.assert_close(coarse, pooled)


@pytest.mark.parametrize(
    ("index", "weights"), [(0, [[1.0, 1.0]]), (1, [[0.0, 1.0]])], ids=["drawn by the teacher", "masked"]
)
def test_nothing_is_said_where_nothing_is_known(index: int, weights: list[list[float]]) -> None:
    shares, known = guide(2).shares([index], FOUND, torch.tensor(weights))
    assert not known.any()
    assert float(guide_loss(torch.full((1, 3, SIDE**2, 32), 1 / 32), shares, known)) == 0


def test_the_loss_is_least_where_the_heads_look_as_told() -> None:
    shares, known = guide(2).shares([1], FOUND, torch.ones(1, 2))
    asked = torch.zeros(1, 3, SIDE**2, 32, requires_grad=True)

    def loss() -> torch.Tensor:
        return guide_loss(asked.softmax(dim=3), shares, known)

    optimiser, start = torch.optim.Adam([asked], lr=0.3), float(loss().detach())
    for _ in range(100):
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        optimiser.step()
    entropy = -(shares * shares.clamp(min=1e-9).log()).sum(dim=2)[known].mean()
    assert float(loss().detach()) < start / 1.5
    assert float(loss().detach()) == pytest.approx(float(entropy), abs=0.05)
    assert torch.count_nonzero(asked.grad[:, 2]) == 0  # the last third is free


def test_what_is_watched_is_what_the_attention_did() -> None:
    torch.manual_seed(0)
    adapter = HSpaceAdapter(32, num_attention_heads=2, norm_num_groups=4)
    h, references = torch.randn(2, 32, 4, 4), torch.randn(2, 3, 4, 32)
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.0, 0.9]])
    attention = adapter.block.attn2
    outputs: list[torch.Tensor] = []
    attention.register_forward_hook(lambda _, given, output: outputs.append(output))
    watched = WatchedAttention(attention)
    with pytest.raises(RuntimeError, match="was not called"):
        watched.probabilities()
    with watched:
        adapter(h, references, weights)
    adapter(2 * h, references, weights)  # no longer watched
    looked = watched.probabilities()
    torch.testing.assert_close(looked.sum(dim=3), torch.ones(2, 2, 16))
    assert torch.count_nonzero(looked.unflatten(3, (3, 4))[0, :, :, 2]) == 0  # lambda 0
    values = (
        attention.to_v(adapter.reference_norm(references.flatten(1, 2))).unflatten(2, (2, 16)).transpose(1, 2)
    )
    mixed = (looked @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.to_out[0](mixed), outputs[0], rtol=1e-4, atol=1e-5)
