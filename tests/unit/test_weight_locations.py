"""Wherever in a graph a path may be, it is found; compared with what onnx itself writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.weight_files import locations, require_weights


def outside(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model_with(*places: str) -> onnx.ModelProto:
    """A model with one tensor outside in each of the places, named after it."""
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(np.zeros(9), "within")])
    model = helper.make_model(graph)
    for place in places:
        if place == "initializer":
            model.graph.initializer.append(outside(place))
        elif place == "sparse":
            model.graph.sparse_initializer.add().values.CopyFrom(outside(place))
        elif place == "constant":
            model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside(place)))
        elif place == "tensors":
            model.graph.node.append(helper.make_node("X", [], ["t"], all=[outside(place)]))
        elif place == "branch":
            inner = helper.make_graph([], "b", [], [], [outside(place)])
            nested = helper.make_graph([helper.make_node("If", ["a"], ["b"], then_branch=inner)], "n", [], [])
            model.graph.node.append(helper.make_node("If", ["a"], ["d"], else_branch=nested))
        elif place == "function":
            node = helper.make_node("Constant", [], ["f"], value=outside(place))
            model.functions.append(helper.make_function("d", "F", [], ["f"], [node], []))
    return model


PLACES = ("initializer", "sparse", "constant", "tensors", "branch", "function")


@pytest.mark.parametrize("place", PLACES)
def test_a_path_is_found_wherever_it_is(tmp_path: Path, place: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_with(place).SerializeToString())
    assert locations(path) == {place}


def test_all_are_found_and_a_graph_without_has_none(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_with(*PLACES).SerializeToString())
    assert locations(path) == set(PLACES)
    path.write_bytes(model_with().SerializeToString())
    assert locations(path) == set()


def test_the_file_of_the_manifest_may_be_named_and_no_other(tmp_path: Path) -> None:
    path, weights = tmp_path / "model.onnx", tmp_path / "initializer"
    path.write_bytes(model_with("initializer").SerializeToString())
    require_weights(path, weights, name="m")
    for other in (None, tmp_path / "other", tmp_path.parent / "initializer"):
        with pytest.raises(
            BundleCorruptError, match="m: takes weights from 'initializer', the manifest names "
        ):
            require_weights(path, other, name="m")


def test_a_path_that_is_said_twice_counts_twice(tmp_path: Path) -> None:
    model = model_with("initializer")
    model.graph.initializer[-1].external_data.add(key="location", value="../second")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert locations(tmp_path / "model.onnx") == {"initializer", "../second"}


@pytest.mark.parametrize("data", [b"", b"\x0b", b"\x3a\xff", b"\x3a" + b"\xff" * 11, b"\x3f"])
def test_what_is_no_message_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleCorruptError, match=r"m: not a graph that ONNX Runtime can load \(.+; download"):
        require_weights(path, None, name="m")


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_read_to_their_end_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    try:
        assert isinstance(locations(path), set)
    except ValueError:
        pass
