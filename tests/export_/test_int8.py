"""Weights as int8: what they hold, what a graph then computes, and a whole bundle of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from export import int8_storage
from export.int8_weights import BLOCK_SIZE, blocks_int8, quantise_weights, symmetric_int8
from export.onnx import main
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest

matrices = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 150), st.integers(1, 5)),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


@given(matrices, st.integers(0, 1))
def test_no_number_moves_by_more_than_half_a_step(values: np.ndarray, axis: int) -> None:
    numbers, scale = symmetric_int8(values, axis)
    steps = scale[:, None] if axis == 0 else scale[None]
    assert np.all(np.abs(numbers * steps - values) <= 0.5001 * steps + 1e-6)
    assert np.abs(numbers.astype(int)).max() <= 127


@given(matrices)
def test_blocks_hold_a_layer_to_half_a_step(weight: np.ndarray) -> None:
    packed, scale = blocks_int8(weight)
    rows, columns = weight.shape
    assert packed.shape == (columns, -(-rows // BLOCK_SIZE), BLOCK_SIZE)
    restored = ((packed.astype(np.float32) - 128) * scale[..., None]).reshape(columns, -1)[:, :rows].T
    largest = np.repeat(scale, BLOCK_SIZE, axis=1)[:, :rows].T
    assert np.all(np.abs(restored - weight) <= 0.5001 * largest + 1e-6)


class Everything(nn.Module):
    """A table, a linear layer with and without bias, a convolution."""

    def __init__(self):
        super().__init__()
        self.table, self.first = nn.Embedding(300, 64), nn.Linear(64, 128, bias=False)
        self.second, self.third, self.conv = nn.Linear(128, 128), nn.Linear(128, 128), nn.Conv2d(8, 64, 3)

    def forward(self, ids):
        x = self.second(torch.tanh(self.first(self.table(ids))))  # (B, 16, 128)
        pooled = self.third(x.mean(dim=1))
        return self.conv(x.reshape(-1, 8, 16, 16)).mean(dim=(2, 3)), pooled


def test_a_graph_of_every_kind_of_weight_stays_near() -> None:
    torch.manual_seed(0)
    module, ids = Everything().eval(), torch.randint(0, 300, (2, 16))
    program = torch.onnx.export(module, (ids,), opset_version=18, dynamo=True, verbose=False)
    assert program is not None
    model = program.model
    before = onnx_ir.to_proto(model).ByteSize()
    assert quantise_weights(model) == 5
    proto = onnx_ir.to_proto(model)
    assert proto.ByteSize() < 0.35 * before
    assert {"MatMulNBits", "DequantizeLinear"} <= {node.op_type for node in proto.graph.node}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: ids.numpy()}
    for ours, theirs in zip(session.run(None, feeds), module(ids), strict=True):
        expected = theirs.detach().numpy()
        assert np.abs(ours - expected).max() < 0.03 * np.abs(expected).max()


@pytest.fixture(scope="module")
def int8(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("int8") / "bundle"
    assert main(["--ckpt", str(checkpoint), "--out", str(out), "--flavour", "cpu-int8"]) == 0
    return out


def test_a_bundle_of_int8_draws_nearly_the_same(int8: Path, exported) -> None:
    manifest = Bundle.load(int8, verify="full").manifest
    assert {graph.flavour for graph in manifest.graphs.values()} == {"cpu-int8"}
    assert all(graph.parity.psnr_db >= int8_storage.MIN_PSNR_DB for graph in manifest.graphs.values())
    kinds = {node.op_type for node in onnx.load(int8 / "unet_decoder" / "model.onnx").graph.node}
    assert {"MatMulNBits", "DequantizeLinear"} <= kinds
    request = DrawRequest(("a cat", "a fox"), (1, 2), references=0)
    pictures = []
    for path in (int8, exported.path):
        with Pipeline.load(Bundle.load(path), device="cpu") as pipeline:
            pictures.append(pipeline.draw(request).images.astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 12
    assert np.abs(pictures[0] - pictures[1]).mean() < 1.5


def test_what_is_too_far_off_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(int8_storage, "MIN_PSNR_DB", 150.0)
    words = ["--ckpt", str(checkpoint), "--out", str(tmp_path / "bundle"), "--flavour", "cpu-int8"]
    assert main(words) == 2
    assert "text_encoder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
