"""Stand-ins for weights, so that a library's passes can rewrite a graph without carrying its gigabytes along.

Only weights of operators that no pass looks into are taken out: matrices, kernels and tables. Kernels of convolutions
are turned to channels-last by the library's pass; their stand-ins are numbers, by which they are found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

_PLACE = {"Conv": 1, "MatMul": 1, "Gemm": 1, "Gather": 0}
"""Where such an operator takes its weight."""
_NUMBERED_DIMS = [1, 1, 1, 1]


@dataclass(frozen=True)
class Weight:
    """A weight that was taken out of a graph.

    Attributes:
        tensor: Still torch's own memory.
        permutation: Of its axes, in the graph that it goes back into.
    """

    tensor: ir.TensorProtocol
    permutation: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As it goes back."""
        shape = tuple(self.tensor.shape.numpy())
        return shape if self.permutation is None else tuple(shape[axis] for axis in self.permutation)

    def numpy(self, dtype: type[np.generic]) -> NDArray[np.generic]:
        """The values, copied: as they go back, in a dtype; what is too large for float16 is infinite."""
        values = self.tensor.numpy()
        if self.permutation is not None:
            values = values.transpose(self.permutation)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, dtype=dtype)


def take_weights(model: ir.Model) -> dict[str, Weight]:
    """Take matrices, kernels and tables out of a model; a stand-in says their dtype and shape, and holds nothing.

    Args:
        model: Changed in place.

    Returns:
        What was taken, by name.
    """
    taken = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if (
            tensor is None
            or tensor.dtype != ir.DataType.FLOAT
            or len(tensor.shape) < 2
            or not _is_weight(value)
        ):
            continue
        taken[name] = Weight(tensor)
        value.const_value = ir.ExternalTensor(
            "taken", None, None, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
        )
    return taken


def number_kernels(model: onnx.ModelProto, taken: Mapping[str, Weight]) -> list[str]:
    """Let each kernel of a convolution be its number, shaped (1, 1, 1, 1).

    Args:
        model: With stand-ins; changed in place.
        taken: From `take_weights`.

    Returns:
        Names of the kernels; the place in the list is the number.
    """
    used = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    numbered: list[str] = []
    for tensor in model.graph.initializer:
        if tensor.name in used and len(taken[tensor.name].shape) == 4:
            value = np.full(_NUMBERED_DIMS, len(numbered), np.float32)
            numbered.append(tensor.name)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return numbered


def find_again(model: onnx.ModelProto, taken: Mapping[str, Weight], numbered: list[str]) -> dict[str, Weight]:
    """Say what each stand-in of a rewritten graph stands for, and empty them: passes may then read what they hold.

    Args:
        model: Rewritten; its convolutions are channels-last. Changed in place.
        taken: From `take_weights`.
        numbered: From `number_kernels`.

    Returns:
        Weights by the names that they have now.
    """
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "NhwcConv"}
    found = {}
    for tensor in model.graph.initializer:
        if tensor.name in kernels and list(tensor.dims) == _NUMBERED_DIMS:
            number = int(numpy_helper.to_array(tensor).item())
            found[tensor.name] = Weight(taken[numbered[number]].tensor, (0, 2, 3, 1))
        elif tensor.name in taken:
            found[tensor.name] = taken[tensor.name]
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(np.empty(0, np.float32), tensor.name))
    return found


def put_back(model: onnx.ModelProto, weights: Mapping[str, Weight]) -> ir.Model:
    """Give a graph its weights again, in the dtype that each stand-in has now.

    Args:
        model: With stand-ins.
        weights: From `find_again`.

    Returns:
        A model whose weights are converted one by one, when they are written.
    """
    restored = ir.from_proto(model)
    for name, weight in weights.items():
        value = restored.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = _later(name, weight, value.const_value.dtype)
        value.shape = ir.Shape(weight.shape)
    return restored


def _later(name: str, weight: Weight, dtype: ir.DataType) -> ir.LazyTensor:
    def convert() -> ir.TensorProtocol:
        return ir.Tensor(weight.numpy(dtype.numpy().type), name=name)

    return ir.LazyTensor(convert, dtype, ir.Shape(weight.shape), name=name)


def _is_weight(value: ir.Value) -> bool:
    uses = value.uses()
    return bool(uses) and all(_PLACE.get(use.node.op_type) == use.idx for use in uses)
