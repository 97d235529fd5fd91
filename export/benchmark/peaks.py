"""What this machine can do at most: products of large matrices, and copies of large arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.benchmark.device import Device

COPIED_BYTES = 256 * 2**20
"""Of the array that is copied: more than any cache holds."""
REPEATS = 8


@dataclass(frozen=True)
class Peaks:
    """The best that was measured.

    Attributes:
        flops_per_s: Of a matrix product, in the dtype of the rows.
        bytes_per_s: Read and written together.
    """

    flops_per_s: float
    bytes_per_s: float


def measure_peaks(device: Device, threads: int) -> Peaks:
    """Measure both, on an idle device.

    On a CPU the product is taken by torch and by ONNX Runtime, whose kernels differ by a factor of two on some: a
    floor over the slower one would be none.

    Args:
        device: Where.
        threads: On the CPU.
    """
    torch.set_num_threads(threads)
    side = device.matrix_side
    left = torch.randn(side, side).to(device.name, device.dtype)
    products: list[Callable[[], object]] = [lambda: left @ left]
    if not device.is_cuda:
        products.append(_onnx_product(left.numpy(), threads))
    flops = 2 * side**3 / min(_shortest(product, device) for product in products)
    source = torch.zeros(COPIED_BYTES // 4, device=device.name)
    target = torch.empty_like(source)
    copied = 2 * COPIED_BYTES / _shortest(lambda: target.copy_(source), device)
    return Peaks(flops, copied)


def best_of(first: Peaks, second: Peaks) -> Peaks:
    """The better of two measurements: before and after the rows, since a machine is not as fast at all times."""
    return Peaks(max(first.flops_per_s, second.flops_per_s), max(first.bytes_per_s, second.bytes_per_s))


def _shortest(action: Callable[[], object], device: Device) -> float:
    """Seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(REPEATS):
        device.synchronize()
        start = time.perf_counter()
        action()
        device.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def _onnx_product(matrix: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """The same product in ONNX Runtime; one side is a weight, as in the graphs, which it may lay out anew."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, matrix.shape) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [numpy_helper.from_array(matrix, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": matrix})
