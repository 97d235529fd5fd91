"""Graphs that ONNX can say and no bundle may hold. The manifest is made to fit: only loading or running tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ragturbo_runtime.files import file_entry
from tests.faults.case import Case, edit_manifest, put
from tests.faults.small_bundle import DATA, LARGE

DRAWING = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder")
_SWAPPED = (("text_encoder", "adapter"), ("unet_encoder", "vae_decoder"), ("adapter", "unet_encoder"))


def graph_cases() -> Iterator[Case]:
    """Every change to every graph that drawing needs."""
    for graph in DRAWING:
        for name, change in _CHANGES.items():
            yield Case(f"{graph}: {name}", partial(_change, graph, change), "always")
    for name, change in _PICTURES.items():
        yield Case(f"vae_decoder: {name}", partial(_change, "vae_decoder", change), "always")
    for name, location in _LOCATIONS.items():
        yield Case(f"{LARGE}: weights in {name}", partial(_locate, location), "always")
    for first, second in _SWAPPED:
        yield Case(f"{first} and {second} swapped, hashes too", partial(_swap, first, second), "always")


def bless(bundle: Path, file: str) -> None:
    """Write a file's hash and size into the manifest, as a careless tool would."""
    entry = file_entry(bundle, file)
    facts = {"sha256": entry.sha256, "bytes": entry.bytes}

    def edit(document: Any) -> None:
        graphs = document["graphs"].values()
        for place in (
            document["tokenizer"],
            *graphs,
            *(graph["data"] for graph in graphs if "data" in graph),
        ):
            if place["file"] == file:
                place.update(facts)
        if file in document["library"]["files"]:
            document["library"]["files"][file] = facts

    edit_manifest(bundle, edit)


def _change(graph: str, change: Callable[[Any], None], bundle: Path) -> None:
    file = f"{graph}/model.onnx"
    model = onnx.load(bundle / file, load_external_data=False)
    if graph == LARGE:
        put(bundle / DATA, (bundle / DATA).read_bytes())  # onnx refuses files of several links
        onnx.load_external_data_for_model(model, str(bundle / graph))
    change(model)
    put(bundle / file, model.SerializeToString())
    bless(bundle, file)


def _last_weights(model: Any, values: Callable[[Any], Any]) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values(array).astype(np.float16), tensor.name))


def _rename(model: Any, kind: str, domain: str) -> None:
    model.graph.node[-1].op_type = kind
    model.graph.node[-1].domain = domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def _instead(model: Any, constant: float, *, dims: int | None = None) -> None:
    """Make the first output a constant plus nothing of the rest."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output:
                node.output[place] = f"{output}.before"
    zero = numpy_helper.from_array(np.array(0, np.float32), "x.zero")
    value = numpy_helper.from_array(np.array(constant, np.float32), "x.value")
    model.graph.initializer.extend([zero, value])
    model.graph.node.append(helper.make_node("Mul", [f"{output}.before", "x.zero"], ["x.nothing"]))
    model.graph.node.append(helper.make_node("Add", ["x.nothing", "x.value"], [output]))


def _huge_tensor(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]


def _huge_fill(model: Any) -> None:
    """Ask for eight terabytes while the graph is loaded."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 41], np.int64), "x.shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["x.shape"], ["x.fill"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["x.fill"], ["x.sum"], keepdims=0))
    output = model.graph.output[0].name
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output:
                node.output[place] = "x.before"
    model.graph.node.append(helper.make_node("Add", ["x.before", "x.sum"], [output]))


def _drop_nodes(model: Any) -> None:
    del model.graph.node[len(model.graph.node) // 2 :]


def _circle(model: Any) -> None:
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def _opset(version: int, model: Any) -> None:
    model.opset_import[0].version = version


_CHANGES: dict[str, Callable[[Any], None]] = {
    "weights of NaN": lambda model: _last_weights(model, lambda array: np.full_like(array, np.nan)),
    "weights of infinity": lambda model: _last_weights(model, lambda array: np.full_like(array, np.inf)),
    "an output of NaN": lambda model: _instead(model, float("nan")),
    "an output of infinity": lambda model: _instead(model, float("inf")),
    "an unknown operator": lambda model: _rename(model, "Imagine", ""),
    "an operator of a domain of its own": lambda model: _rename(model, "Run", "evil.example"),
    "an operator of Python": lambda model: _rename(model, "PyOp", "ai.onnx.contrib"),
    "a tensor of 2**60 numbers": _huge_tensor,
    "eight terabytes to fill": _huge_fill,
    "half of the nodes": _drop_nodes,
    "a circle of nodes": _circle,
    "opset 0": partial(_opset, 0),
    "opset 999": partial(_opset, 999),
    "no opset": lambda model: model.ClearField("opset_import"),
    "IR version 999": lambda model: setattr(model, "ir_version", 999),
    "no graph": lambda model: model.ClearField("graph"),
    "an input more": lambda model: model.graph.input.append(
        helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])
    ),
    "another name of an output": lambda model: setattr(model.graph.output[0], "name", "other"),
    "initializers lost": lambda model: model.graph.ClearField("initializer"),
}
_PICTURES: dict[str, Callable[[Any], None]] = {
    "all black": lambda model: _instead(model, -1.0),
    "blacker than black": lambda model: _instead(model, -1e30),
    "all white": lambda model: _instead(model, 1.0),
    "all grey": lambda model: _instead(model, 0.0),
}
_LOCATIONS = {
    "a file outside": "../../outside.bin",
    "an absolute path": "/etc/hostname",
    "a device": "/dev/zero",
    "another graph": "../adapter/model.onnx",
    "no file": "nothing.bin",
    "a folder": ".",
    "an empty name": "",
    "a name with a NUL": "a\0b",
    "a name of 5000 letters": "x" * 5000,
}


def _locate(location: str, bundle: Path) -> None:
    """Let the graph look for its weights elsewhere; outside, there is a file with the right ones."""
    (bundle.parent / "outside.bin").write_bytes((bundle / DATA).read_bytes())
    file = f"{LARGE}/model.onnx"
    model = onnx.load(bundle / file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    put(bundle / file, model.SerializeToString())
    bless(bundle, file)


def _swap(first: str, second: str, bundle: Path) -> None:
    files = [f"{name}/model.onnx" for name in (first, second)]
    one, two = ((bundle / file).read_bytes() for file in files)
    put(bundle / files[0], two)
    put(bundle / files[1], one)
    for file in files:
        bless(bundle, file)
