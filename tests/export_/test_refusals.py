"""A graph that does not compute what torch computes is refused, and the disk is as it was."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from export.bundle_writer import write_bundle
from export.errors import ExportError, ParityError
from export.graphs import GraphSpec, graph_specs
from export.parity import compare, max_abs_diff, psnr_db, require
from export.storage import smallest_within_tolerance
from export.trace import check_whole, strip_metadata, to_proto, trace
from ragturbo_runtime.manifest import TensorSpec

F32 = ("batch", 8)


class _Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def _spec(module: nn.Module, reference: nn.Module | None = None) -> GraphSpec:
    """A graph of one input, with the exporter's own description of graphs."""

    def example(sizes, seed):
        return (torch.randn(sizes["batch"], 8, generator=torch.Generator().manual_seed(seed)),)

    tensor = (TensorSpec("x", "float32", F32),), (TensorSpec("y", "float32", F32),)
    return GraphSpec("scaled", module, reference or module, *tensor, 1e-4, example)


def _model(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, F32) for name in ("x", *outputs)]
    graph = helper.make_graph(list(nodes), "test", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.slow
def test_a_graph_that_differs_from_torch_is_refused_with_its_numbers():
    spec = _spec(_Scaled(2.0), reference=_Scaled(2.001))
    with pytest.raises(ParityError, match="scaled: differs from torch by") as caught:
        smallest_within_tolerance(to_proto(trace(spec), spec), spec)
    error = caught.value
    assert error.graph == "scaled"
    assert error.max_abs_diff > error.atol > 0
    assert 50 < error.psnr_db < 90


def test_a_value_that_is_not_finite_is_refused():
    spec = _spec(_Scaled(float("nan")))
    factor = helper.make_node(
        "Constant", [], ["f"], value=helper.make_tensor("f", TensorProto.FLOAT, [], [np.nan])
    )
    parity = compare(_model(factor, helper.make_node("Mul", ["x", "f"], ["y"])), spec)
    with pytest.raises(ParityError, match="nan"):
        require(spec, parity)


@pytest.mark.slow
def test_a_failing_export_leaves_the_disk_as_it_was(models, tmp_path):
    """The text tower returns NaN in torch and in ONNX alike: the first graph fails, after the folder was made."""
    text = copy.deepcopy(models.family.text)
    nn.init.constant_(text.clip.ln_final.weight, float("nan"))
    broken = dataclasses.replace(models, family=dataclasses.replace(models.family, text=text))
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "manifest.json").write_text("an older bundle")
    with pytest.raises(ParityError, match="text_encoder"):
        write_bundle(broken, out, [], report=lambda line: pytest.fail(f"reported {line}"))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert [path.read_text() for path in out.iterdir()] == ["an older bundle"]


def test_an_output_without_a_producer_is_found():
    spec = _spec(_Scaled(1.0))
    check_whole(_model(helper.make_node("Neg", ["x"], ["y"])), spec)
    with pytest.raises(ExportError, match=r"outputs \['y'\] have no producer"):
        check_whole(_model(helper.make_node("Neg", ["x"], ["z"])), spec)


def test_an_input_without_a_producer_is_found():
    with pytest.raises(ExportError, match=r"uses \['lost'\]"):
        check_whole(_model(helper.make_node("Add", ["x", "lost"], ["y"])), _spec(_Scaled(1.0)))


def test_another_signature_is_found():
    model = _model(
        helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"]), outputs=("y", "z")
    )
    with pytest.raises(ExportError, match="its outputs are"):
        check_whole(model, _spec(_Scaled(1.0)))


def test_a_graph_that_onnxruntime_cannot_load_is_our_error():
    with pytest.raises(ExportError, match="scaled: ONNX Runtime cannot load it"):
        compare(_model(helper.make_node("NoSuchOperator", ["x"], ["y"])), _spec(_Scaled(1.0)))


def test_a_module_that_torch_cannot_export_is_our_error():
    class Reads(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum().item() > 0 else x

    with pytest.raises(ExportError, match="scaled: torch cannot export it"):
        trace(_spec(Reads()))


def test_metadata_is_stripped_everywhere():
    model = _model(helper.make_node("Neg", ["x"], ["y"], doc_string="/home/someone"))
    for item in (model, model.graph, model.graph.node[0], model.graph.input[0]):
        item.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/code.py")
    strip_metadata(model)
    assert b"someone" not in model.SerializeToString()


def test_text_blocks_of_another_kind_are_refused(models):
    text = copy.deepcopy(models.family.text)
    text.clip.transformer.resblocks[0] = nn.Identity()
    broken = dataclasses.replace(models, family=dataclasses.replace(models.family, text=text))
    with pytest.raises(ExportError, match="cannot export a block of type Identity"):
        graph_specs(broken)


def test_measures():
    theirs = np.array([0.0, 1.0], np.float32)
    assert psnr_db(theirs, theirs) == np.inf
    assert psnr_db(theirs + np.float32(0.1), theirs) == pytest.approx(20.0, abs=1e-4)
    assert max_abs_diff(theirs - np.float32(0.5), theirs) == 0.5
    assert np.isnan(psnr_db(np.array([np.nan, 1.0]), theirs))
