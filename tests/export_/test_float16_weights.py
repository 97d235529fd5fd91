"""Storing weights as float16 changes what is stored, never how it is computed."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.float16_weights import SMALLEST, store_float16

WIDTH = 64


def _model(weight, table, bias) -> onnx.ModelProto:
    """y = table[ids] @ weight + bias."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y"]),
    ]
    tensors = {"weight": weight, "table": table, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _run(model) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": np.array([3, 0, 3])})[0]


def _types(model) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return (
        random.standard_normal((WIDTH, WIDTH)).astype(np.float32),
        random.standard_normal((16, WIDTH)).astype(np.float16),
        random.standard_normal(WIDTH).astype(np.float32),
    )


def test_halves_are_stored_and_float32_is_computed(arrays):
    weight, table, bias = arrays
    stored = store_float16(_model(*arrays), lossless_only=False)
    onnx.checker.check_model(stored, full_check=True)
    assert _types(stored) == {
        "weight": TensorProto.FLOAT16,
        "table": TensorProto.FLOAT16,
        "bias": TensorProto.FLOAT,  # below the smallest size
    }
    assert bias.size < SMALLEST
    rows = table[[3, 0, 3]].astype(np.float32)
    np.testing.assert_allclose(
        _run(stored), rows @ weight.astype(np.float16).astype(np.float32) + bias, rtol=1e-5
    )


def test_a_table_is_cast_after_it_was_looked_up_in(arrays):
    stored = store_float16(_model(*arrays), lossless_only=False)
    assert [node.op_type for node in stored.graph.node] == ["Cast", "Gather", "Cast", "MatMul", "Add"]
    assert stored.graph.node[1].input[0] == "table"
    assert len(stored.SerializeToString()) < 0.6 * len(_model(*arrays).SerializeToString())


def test_lossless_only_keeps_what_float16_cannot_hold(arrays):
    original = _model(*arrays)
    stored = store_float16(original, lossless_only=True)
    assert _types(stored)["weight"] == TensorProto.FLOAT
    assert _types(stored)["table"] == TensorProto.FLOAT16
    np.testing.assert_array_equal(_run(stored), _run(original))


def test_what_overflows_stays_and_infinity_may_be_stored(arrays):
    weight, table, bias = arrays
    weight[0, 0] = 1e6
    table[1, 0] = -np.inf
    types = _types(store_float16(_model(weight, table, bias), lossless_only=False))
    assert types["weight"] == TensorProto.FLOAT
    assert types["table"] == TensorProto.FLOAT16


def test_the_original_is_not_changed(arrays):
    original = _model(*arrays)
    before = original.SerializeToString(deterministic=True)
    store_float16(original, lossless_only=False)
    assert original.SerializeToString(deterministic=True) == before
