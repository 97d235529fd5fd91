"""Doubling and convolving, computed before the doubling."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from export.upsampling import halve_upsampling, phase_kernels


class Doubled(nn.Module):
    def __init__(self, channels: int, out: int, *, bias: bool = True, padding: int = 1, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=padding, stride=stride, bias=bias)

    def forward(self, x):
        return torch.sigmoid(self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest")))


class ReadTwice(Doubled):
    def forward(self, x):
        large = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.conv(large) + large.mean()


def traced(module: nn.Module, x: torch.Tensor) -> onnx_ir.Model:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.onnx.export(
        module.eval(), (x,), opset_version=18, dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    assert program is not None
    return program.model


def run(model: onnx_ir.Model, x: torch.Tensor) -> np.ndarray:
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


@pytest.mark.parametrize("bias", [True, False])
def test_it_computes_the_same_at_any_batch(bias: bool) -> None:
    module, x = Doubled(3, 5, bias=bias), torch.randn(3, 3, 5, 4)
    model = traced(module, x[:2])
    assert halve_upsampling(model) == 1
    assert "Resize" not in {node.op_type for node in model.graph}
    assert len([node for node in model.graph if node.op_type == "Conv"]) == 4
    np.testing.assert_allclose(run(model, x), module(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("module", [ReadTwice(3, 3), Doubled(3, 5, padding=0), Doubled(3, 5, stride=2)])
def test_what_it_does_not_know_stays(module: nn.Module) -> None:
    x = torch.randn(2, 3, 5, 4)
    model = traced(module, x)
    assert halve_upsampling(model) == 0
    np.testing.assert_allclose(run(model, x), module(x).detach().numpy(), atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4))
def test_every_tap_of_a_kernel_is_in_each_quarter_once(seed: int, out: int, channels: int) -> None:
    kernel = np.random.default_rng(seed).standard_normal((out, channels, 3, 3)).astype(np.float32)
    for row in phase_kernels(kernel):
        for quarter in row:
            np.testing.assert_allclose(quarter.sum((2, 3)), kernel.sum((2, 3)), atol=1e-5)
