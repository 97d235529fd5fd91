"""Which operators stay in float32: modules in each of which exactly one thing goes wrong in float16."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from export.attention import attention
from export.errors import ParityError
from export.graphs import GraphSpec
from export.operator_groups import kept_nodes
from export.precision import MIN_PSNR_DB, choose_precision
from export.rounding import Recording, Rounding, rounded
from ragturbo_runtime.manifest import TensorSpec


def _spec(module: nn.Module, *shape: int, scale: float = 1.0, integers: bool = False) -> GraphSpec:
    def example(sizes, seed):
        generator = torch.Generator().manual_seed(seed)
        if integers:
            return (torch.randint(500, 1000, (sizes["batch"], *shape), generator=generator),)
        return (scale * torch.randn(sizes["batch"], *shape, generator=generator),)

    x = TensorSpec("x", "int64" if integers else "float32", ("batch", *shape))
    y = TensorSpec("y", "float32", ("batch", *shape))
    return GraphSpec("test", module.eval(), module, (x,), (y,), 1e-4, example)


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(32, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 32), nn.SiLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _HandMadeNorm(_Plain):
    """Its sum of squares is about 32 * 300^2 = 2.9 million; each square alone may be too large as well."""

    def forward(self, x: Tensor) -> Tensor:
        large = 300 * self.layers(x)
        return large / (large * large).sum(dim=-1, keepdim=True).sqrt()


class _LargeLogits(_Plain):
    """Scores of about 10^6: the softmax is that of the largest alone, in float32; their sum overflows in float16."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return attention(1000 * x, 1000 * x, x, 1)


class _LargeScores(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scores = (200 * x) @ (200 * x).transpose(1, 2)
        return (scores / 3e4).softmax(dim=-1) @ x


class _Waves(nn.Module):
    """What a U-Net makes of a timestep: 999 * 0.87 is 0.25 off in float16, which no sine survives."""

    def forward(self, x: Tensor) -> Tensor:
        frequencies = torch.exp(-0.2 * torch.arange(4, dtype=torch.float32))
        angles = x.float() * frequencies.repeat(x.shape[1] // 4)
        return torch.cat([angles.sin()[:, ::2], angles.cos()[:, ::2]], dim=1)


class _SmallDifferences(nn.Module):
    """100 and a spread of 0.1: float16 rounds by 0.03 there."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0.1 + 100.0) - 100.0


def test_nothing_is_kept_where_nothing_is_lost():
    precision = choose_precision(_spec(_Plain(), 5, 32))
    assert precision.fp32 == ()
    assert precision.parity.psnr_db >= MIN_PSNR_DB
    assert precision.parity.atol is None


def test_a_sum_of_squares_that_overflows_is_kept():
    precision = choose_precision(_spec(_HandMadeNorm(), 5, 32, scale=30.0))
    assert set(precision.fp32) == {"Elementwise", "Reduce"}
    assert precision.parity.psnr_db >= MIN_PSNR_DB


def test_attention_whose_scores_overflow_is_kept():
    precision = choose_precision(_spec(_LargeLogits(), 5, 32, scale=3.0))
    assert precision.fp32 == ("MultiHeadAttention",)


def test_scores_that_are_written_out_and_overflow_are_kept():
    """Their own product, and what takes it up before it is small again."""
    precision = choose_precision(_spec(_LargeScores(), 5, 32))
    assert set(precision.fp32) == {"MatMul", "Elementwise"}


def test_angles_are_kept_and_nothing_else_of_their_kind():
    spec = _spec(_Waves(), 8, integers=True)
    precision = choose_precision(spec)
    assert precision.fp32 == ("Angles",)
    assert precision.parity.psnr_db > 60


def test_precision_that_is_lost_without_overflow_is_kept():
    precision = choose_precision(_spec(_SmallDifferences(), 5, 32))
    assert precision.fp32 == ("Elementwise",)


def test_where_nothing_helps_the_numbers_are_named():
    """The input itself is beyond float16, and a float16 graph has no other."""
    with pytest.raises(
        ParityError, match=r"test: differs from torch by .*PSNR .*--flavour portable"
    ) as caught:
        choose_precision(_spec(_Plain(), 5, 32, scale=1e6))
    assert caught.value.psnr_db != caught.value.psnr_db or caught.value.psnr_db < MIN_PSNR_DB


def test_nan_in_the_weights_is_refused():
    module = _Plain()
    nn.init.constant_(module.layers[0].weight, math.nan)
    with pytest.raises(ParityError, match=r"test: .*NaN in its weights"):
        choose_precision(_spec(module, 5, 32))


def test_rounding_is_that_of_half_modules():
    """Torch's own half precision on the CPU also adds up in float32."""
    module, x = _Plain().requires_grad_(False), torch.randn(5, 32)
    mode = Rounding()
    with torch.no_grad():
        taken = mode.take(x)
        with mode:
            ours = module(taken)
        theirs = module.half()(x.half()).float()
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)
    assert torch.equal(ours, rounded(ours))


def test_a_recording_knows_what_angles_are_made_of():
    recording = Recording()
    with torch.no_grad(), recording:
        _Waves()(torch.full((1, 8), 999)) + torch.ones(1)
    assert recording.calls["Angles"] == 2
    assert len(recording.angles) >= 5  # the cast, the frequencies' exp and their product, sine, cosine


def test_nodes_before_a_sine_are_kept_in_onnx():
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["t"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "w"], ["a"], "angle"),
        helper.make_node("Sin", ["a"], ["s"], "sine"),
        helper.make_node("Reshape", ["s", "shape"], ["r"], "moved"),
        helper.make_node("Mul", ["r", "w"], ["y"], "behind"),
    ]
    graph = onnx.GraphProto(node=nodes)
    types = dict.fromkeys(("f", "w", "a", "s", "r", "y"), TensorProto.FLOAT) | {"t": TensorProto.INT64}
    assert kept_nodes(graph, ["Angles"], types) == ["cast", "angle", "sine", "moved"]
    assert kept_nodes(graph, [], types) == []
