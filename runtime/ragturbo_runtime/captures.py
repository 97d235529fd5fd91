"""CUDA graphs: a run is recorded once, and replayed with new numbers in the same places.

A recorded run reads and writes fixed addresses. So each set of shapes has buffers of its own: arrays are copied into
them, and outputs are found in them. What another recorded run has left in its own buffers is read where it lies.

On the CPU provider nothing is recorded, but the buffers are the same: that is how this is tested without a card.
"""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.manifest import GraphEntry
from ragturbo_runtime.providers import Device
from ragturbo_runtime.tensors import Tensor, describe

if TYPE_CHECKING:
    import onnxruntime

logger: logging.Logger = logging.getLogger(__name__)

MAX_CAPTURES = 16
"""Sets of shapes that one graph is recorded for. Recordings are kept: the CUDA provider frees none before its session
ends, so that making room for new ones would only use up more."""

_RUN_KEY = "gpu_graph_id"  # onnxruntime/core/session/onnxruntime_run_options_config_keys.h
_SKIP = -1
_fixed: weakref.WeakSet[onnxruntime.OrtValue] = weakref.WeakSet()
"""Values whose address is the same at the next call: only these can be inputs of a recorded run as they are."""


class Captures:
    """The recorded runs of one session. One thread at a time."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: GraphEntry, device: Device) -> None:
        """Record nothing yet."""
        self._session = session
        self._spec = spec
        self._device = device
        self._known: dict[tuple[object, ...], CapturedRun] = {}
        self._places: dict[tuple[object, ...], onnxruntime.OrtValue] = {}

    def put(self, name: str, array: Array) -> onnxruntime.OrtValue | None:
        """Copy an array to where the last one of its name, dtype and shape was; None where there are enough places."""
        key = (name, array.dtype.name, array.shape)
        if key not in self._places:
            if len(self._places) >= MAX_CAPTURES:
                return None
            self._places[key] = _allocate(array.shape, array.dtype, self._device)
        self._places[key].update_inplace(np.ascontiguousarray(array))
        return self._places[key]

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, onnxruntime.OrtValue] | None:
        """Replay what was recorded for these shapes and addresses, or record it.

        Args:
            feeds: Checked inputs.

        Returns:
            The outputs by name, in buffers that the next such run writes again. None where it cannot be recorded: an
            input lies at an address of its own at each call, an output's shape does not follow from the inputs', or
            there are enough recordings. It is then to be run as without CUDA graphs.
        """
        if not all(isinstance(value, np.ndarray) or value in _fixed for value in feeds.values()):
            return None
        key = tuple(_key(name, feeds[name]) for name in sorted(feeds))
        captured = self._known.get(key) or self._new(feeds)
        if captured is None:
            return None
        outputs = captured.run(feeds)
        self._known[key] = captured  # only now: one that failed is not tried again
        return outputs

    def _output_shapes(self, feeds: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]] | None:
        sizes: dict[int | str, int] = {}
        for item in self._spec.inputs:
            sizes.update(zip(item.shape, describe(feeds[item.name])[1], strict=True))
        named = {dim for item in self._spec.outputs for dim in item.shape if isinstance(dim, str)}
        if not named <= sizes.keys():
            return None
        return {
            item.name: tuple(sizes[dim] if isinstance(dim, str) else dim for dim in item.shape)
            for item in self._spec.outputs
        }

    def _new(self, feeds: Mapping[str, Tensor]) -> CapturedRun | None:
        shapes = self._output_shapes(feeds)
        if shapes is None or len(self._known) >= MAX_CAPTURES:
            file = self._spec.file.file
            logger.debug("%s: runs without a recording; there are %d", file, len(self._known))
            return None
        inputs = {
            name: _allocate(value.shape, value.dtype, self._device)
            if isinstance(value, np.ndarray)
            else value
            for name, value in feeds.items()
        }
        outputs = {
            item.name: _allocate(shapes[item.name], np.dtype(item.dtype), self._device)
            for item in self._spec.outputs
        }
        return CapturedRun(self._session, inputs, outputs)


class CapturedRun:
    """One recorded run: its buffers and its number."""

    _numbers = itertools.count(
        1
    )  # never used again: a number stands for its recording until the session ends

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: dict[str, onnxruntime.OrtValue],
        outputs: dict[str, onnxruntime.OrtValue],
    ) -> None:
        """Bind the buffers; the first run records."""
        self._session = session
        self._inputs, self._outputs = inputs, outputs
        self._run_options = _run_options(next(self._numbers))
        self._binding = session.io_binding()
        for name, value in inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, onnxruntime.OrtValue]:
        """Copy the arrays into their places, and run.

        Args:
            feeds: Of the shapes that it was recorded for.

        Returns:
            The outputs by name, in buffers that the next run writes again.
        """
        for name, value in feeds.items():
            if isinstance(value, np.ndarray):
                self._inputs[name].update_inplace(np.ascontiguousarray(value))
        self._session.run_with_iobinding(self._binding, self._run_options)
        return dict(self._outputs)


def without_capture() -> onnxruntime.RunOptions:
    """Options for a run that is neither recorded nor replayed, in a session that records."""
    return _run_options(_SKIP)


def _run_options(number: int) -> onnxruntime.RunOptions:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry(_RUN_KEY, str(number))
    return options


def _allocate(shape: tuple[int, ...], dtype: np.dtype[np.generic], device: Device) -> onnxruntime.OrtValue:
    from onnxruntime import OrtValue

    value = OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, device.kind, device.index)
    _fixed.add(value)
    return value


def _key(name: str, value: Tensor) -> tuple[object, ...]:
    return (name, value.shape) if isinstance(value, np.ndarray) else (name, id(value))
