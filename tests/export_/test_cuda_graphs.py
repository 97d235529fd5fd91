"""The flavour for CUDA: fused, half precision, whole, and computing what torch computes, as far as a CPU can tell."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export import storage
from export.bundle_writer import _describe, write_bundle
from export.checking_copy import checking_copy
from export.cuda_storage import store_cuda
from export.errors import ExportError, ParityError
from export.flavours import FLAVOURS, find_flavour
from export.float16_graph import half_spec, to_float16
from export.fusion import fuse, fuse_split_gelu
from export.graphs import graph_specs
from export.models import load_base
from export.onnx import _parser, main
from export.operator_groups import group_of_onnx
from export.parity import compare
from export.precision import MIN_PSNR_DB
from export.stand_ins import put_back, take_weights
from export.trace import check_whole, to_proto, trace
from export.translations import cuda_translations
from export.value_types import value_types
from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.manifest import Manifest, parse_manifest, read_manifest
from ragturbo_runtime.manifest_json import manifest_to_json

pytestmark = pytest.mark.slow
GRAPHS = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder", "vae_encoder")
FUSED = {
    "text_encoder": {"BiasGelu": 2},
    "unet_encoder": {
        "NhwcConv": 11,
        "MultiHeadAttention": 4,
        "SkipLayerNormalization": 4,
        "SkipGroupNorm": 7,
    },
    "adapter": {"GroupNorm": 1, "SkipLayerNormalization": 2},
    "unet_decoder": {"NhwcConv": 14, "MultiHeadAttention": 4, "SkipGroupNorm": 4, "GroupNorm": 2},
    "vae_decoder": {"NhwcConv": 22, "MultiHeadAttention": 1, "GroupNorm": 9, "SkipGroupNorm": 4},
    "vae_encoder": {"NhwcConv": 16, "MultiHeadAttention": 1, "GroupNorm": 5, "SkipGroupNorm": 3},
}
"""Of the nano family; some of its group norms have one channel a group, which the fused kernel cannot compute."""


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano family for CUDA, its weights beside the graphs, by the real command. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("cuda") / "bundle"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(storage, "MAX_INLINE_BYTES", 20_000)
        assert main(["--ckpt", str(checkpoint), "--out", str(out), "--flavour", "cuda-fp16"]) == 0
    (out.parent / "printed").write_text(printed.getvalue())
    return out


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_manifest(bundle)


@pytest.fixture(scope="module")
def traced(models) -> onnx.ModelProto:
    """The U-Net's decoder, fused but still in float32, with its weights by name."""
    spec = next(spec for spec in graph_specs(models) if spec.name == "unet_decoder")
    model = trace(spec, cuda_translations())
    taken = take_weights(model)
    fused, weights = fuse(to_proto(model, spec), spec.name, taken)
    check_whole(fused, spec)
    return spec, fused, weights


def _load(bundle: Path, name: str) -> onnx.ModelProto:
    return onnx.load(bundle / name / "model.onnx", load_external_data=False)


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_are_fused(bundle, name):
    counts = Counter(node.op_type for node in _load(bundle, name).graph.node)
    assert {op: counts[op] for op in FUSED[name]} == FUSED[name]
    assert counts["Conv"] == 0


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_whole_half_and_silent(bundle, manifest, models, name):
    model = _load(bundle, name)
    spec = next(spec for spec in graph_specs(models) if spec.name == name)
    check_whole(model, half_spec(spec))
    types = value_types(model.graph)
    computed = {types[node.output[0]] for node in model.graph.node if group_of_onnx(node.op_type) == "MatMul"}
    assert computed == {TensorProto.FLOAT16}
    content = (bundle / name / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    entry = manifest.graphs[name]
    assert entry.flavour == "cuda-fp16"
    assert {t.dtype for t in (*entry.inputs, *entry.outputs)} <= {"float16", "int64", "int8"}
    assert [t.name for t in entry.inputs] == [value.name for value in model.graph.input]
    assert entry.parity.psnr_db >= MIN_PSNR_DB
    assert entry.parity.atol is None


def test_weights_lie_in_files_page_by_page_and_nothing_else_is_left(bundle, manifest):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    named = {entry.file for entry in manifest.files()} | {"manifest.json"}
    assert files == named | {name for name in files if name.startswith("library/")}
    graph = manifest.graphs["unet_decoder"]
    assert graph.data is not None
    for tensor in _load(bundle, "unet_decoder").graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        assert not where or int(where["offset"]) % 4096 == 0
    assert (
        manifest.graphs["unet_decoder"].data.bytes < 1.1e6
    )  # 0.9 MB of float16 weights, each from a new page


def test_no_cast_does_nothing(bundle):
    for name in GRAPHS:
        graph = _load(bundle, name).graph
        types = value_types(graph)
        casts = [node for node in graph.node if node.op_type == "Cast"]
        assert all(types[node.input[0]] != types[node.output[0]] for node in casts)


def test_the_chain_and_the_graphs_are_printed_and_recorded(bundle, manifest):
    lines = (bundle.parent / "printed").read_text().splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [*GRAPHS, "chain"]
    assert all("float16" in line for line in lines[:-2])
    assert "of 255" in lines[-2]
    assert manifest.parity.psnr_db > 45
    assert manifest.library.count == 24


def test_the_library_is_that_of_the_portable_bundle(bundle, exported):
    """Encoded by torch here, by ONNX Runtime there."""
    keys = [
        np.fromfile(folder / "library" / "keys-000001.f16", np.float16) for folder in (bundle, exported.path)
    ]
    assert np.abs(keys[0].astype(float) - keys[1]).max() < 2e-3
    rows = [
        np.fromfile(folder / "library" / "features-000001.i8", np.int8) for folder in (bundle, exported.path)
    ]
    assert np.abs(rows[0].astype(int) - rows[1]).max() <= 1


def test_what_is_kept_goes_from_the_measurement_into_graph_and_manifest(models, tmp_path, monkeypatch):
    """A first convolution of weights so large that its results overflow: the convolutions stay in float32."""
    unet = copy.deepcopy(models.family.unet)
    with torch.no_grad():
        unet.down_blocks[0].resnets[0].conv1.weight.mul_(3e6)
    changed = dataclasses.replace(models, family=dataclasses.replace(models.family, unet=unet))
    spec = next(spec for spec in graph_specs(changed) if spec.name == "unet_encoder")
    stored = store_cuda(trace(spec, cuda_translations()), spec, tmp_path / "graph")
    assert "Conv" in stored.precision.fp32
    graph = onnx.load(stored.path).graph
    types = value_types(graph)
    convolved = [node for node in graph.node if node.op_type == "NhwcConv"]
    assert {types[name] for node in convolved for name in node.input[:2]} == {TensorProto.FLOAT}
    assert stored.parity.psnr_db >= MIN_PSNR_DB
    assert _describe(tmp_path, "graph", FLAVOURS["cuda-fp16"], stored).fp32_ops == stored.precision.fp32


def test_fp32_ops_are_read_back_and_checked(bundle, manifest, tmp_path):
    graphs = dict(manifest.graphs)
    graphs["adapter"] = dataclasses.replace(graphs["adapter"], fp32_ops=("Conv", "Angles"))
    document = manifest_to_json(dataclasses.replace(manifest, graphs=graphs))
    assert document["graphs"]["adapter"]["fp32_ops"] == ["Conv", "Angles"]
    assert "fp32_ops" not in document["graphs"]["vae_decoder"]
    assert parse_manifest(document, path=tmp_path).graphs["adapter"].fp32_ops == ("Conv", "Angles")
    document["graphs"]["adapter"]["fp32_ops"] = "Conv"
    with pytest.raises(
        BundleCorruptError, match=r"graphs\.adapter\.fp32_ops is 'Conv', expected a list of strings"
    ):
        parse_manifest(json.loads(json.dumps(document)), path=tmp_path)


def test_a_graph_wired_wrong_is_found(traced):
    """Two skips of the same shape, exchanged after fusing."""
    spec, fused, weights = traced
    half = to_float16(copy.deepcopy(fused), spec.name, [])
    exchanged = {"skip_0": "skip_1", "skip_1": "skip_0"}
    for node in half.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = exchanged.get(name, name)
    wrong = onnx_ir.to_proto(checking_copy(put_back(half, weights)))
    right = onnx_ir.to_proto(
        checking_copy(put_back(to_float16(copy.deepcopy(fused), spec.name, []), weights))
    )
    assert compare(right, spec).psnr_db > MIN_PSNR_DB + 10
    assert compare(wrong, spec).psnr_db < MIN_PSNR_DB


def test_a_lost_output_is_found(traced):
    spec, fused, _ = traced
    lost = copy.deepcopy(fused)
    last = next(node for node in lost.graph.node if spec.outputs[0].name in node.output)
    lost.graph.node.remove(last)
    with pytest.raises(ExportError, match="have no producer"):
        check_whole(lost, spec)


def test_nan_weights_are_refused_and_nothing_is_left(models, tmp_path):
    text = copy.deepcopy(models.family.text)
    nn.init.constant_(text.clip.ln_final.weight, float("nan"))
    broken = dataclasses.replace(models, family=dataclasses.replace(models.family, text=text))
    with pytest.raises(ParityError, match=r"text_encoder: .*NaN"):
        write_bundle(broken, tmp_path / "bundle", [], report=lambda _: None, flavour="cuda-fp16")
    assert not list(tmp_path.iterdir())


def test_the_checking_copy_of_every_cuda_operator_is_torch():
    """Operators that the nano family is too small for are here too: a gated feed-forward, and a sum of biases."""
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.normal(size=shape).astype(np.float32)
        for name, shape in {
            "b": (2560,),
            "g": (8,),
            "t": (8,),
            "c": (8,),
            "k": (4, 3, 3, 8),
            "a": (1280,),
        }.items()
    }
    domain = "com.microsoft"
    norm = {"groups": 4, "epsilon": 1e-5, "activation": 1, "domain": domain}
    nodes = [
        helper.make_node("BiasSplitGelu", ["x", "b"], ["gated"], "n0", domain=domain),
        helper.make_node("BiasAdd", ["gated", "a", "s"], ["summed"], "n1", domain=domain),
        helper.make_node("SkipGroupNorm", ["i", "g", "t", "j", "c"], ["normed", "total"], "n2", **norm),
        helper.make_node("NhwcConv", ["normed", "k"], ["convolved"], "n3", domain=domain, pads=[1, 1, 1, 1]),
    ]
    shapes = {"x": (1, 5, 2560), "s": (1, 5, 1280), "i": (1, 6, 6, 8), "j": (1, 6, 6, 8)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("summed", "total", "convolved")
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "all", infos, outputs, weights), opset_imports=opsets, ir_version=10
    )
    copied = onnx_ir.to_proto(checking_copy(onnx_ir.from_proto(model)))
    feeds = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    session = onnxruntime.InferenceSession(copied.SerializeToString(), providers=["CPUExecutionProvider"])
    summed, total, convolved = session.run(None, feeds)
    w = {name: torch.from_numpy(array) for name, array in (arrays | feeds).items()}
    left, right = (w["x"] + w["b"]).chunk(2, dim=-1)
    expected = left * nn.functional.gelu(right) + w["a"] + w["s"]
    np.testing.assert_allclose(summed, expected, atol=1e-4)
    added = w["i"] + w["j"] + w["c"]
    np.testing.assert_allclose(total, added, atol=1e-5)
    normed = nn.functional.silu(nn.functional.group_norm(added.permute(0, 3, 1, 2), 4, w["g"], w["t"]))
    theirs = nn.functional.conv2d(normed, w["k"].permute(0, 3, 1, 2), padding=1).permute(0, 2, 3, 1)
    np.testing.assert_allclose(convolved, theirs, atol=1e-4)


@pytest.mark.parametrize(("size", "joined"), [(2560, 1), (256, 0)])
def test_gated_feed_forwards_are_joined_where_the_kernel_takes_their_size(size, joined):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["p"]),
        helper.make_node("Split", ["p"], ["l", "r"], axis=-1, num_outputs=2),
        helper.make_node("Gelu", ["r"], ["g"], domain="com.microsoft"),
        helper.make_node("Mul", ["l", "g"], ["y"]),
    ]
    bias = numpy_helper.from_array(np.zeros(size, np.float32), "b")
    graph = onnx.GraphProto(node=nodes, initializer=[bias])
    assert fuse_split_gelu(graph) == joined
    assert [node.op_type for node in graph.node][-1] == ("BiasSplitGelu" if joined else "Mul")
    assert len(graph.node) == (2 if joined else 5)


def test_flavours_of_the_command_are_those_of_the_table():
    action = next(action for action in _parser()._actions if action.dest == "flavour")
    assert set(action.choices) <= set(FLAVOURS)
    with pytest.raises(ExportError, match="flavour is 'tpu'; known: portable, "):
        find_flavour("tpu")


def test_slerp_is_measured_like_everything_else(checkpoint, tmp_path):
    """Its norms and angles pass through float16 too."""
    spec = next(spec for spec in graph_specs(load_base(checkpoint.parent)) if spec.name == "adapter")
    stored = store_cuda(trace(spec, cuda_translations()), spec, tmp_path / "adapter")
    assert stored.parity.psnr_db >= MIN_PSNR_DB
    assert [tensor.dtype for tensor in stored.outputs] == ["float16"]
