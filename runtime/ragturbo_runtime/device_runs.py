"""Runs of one session on tensors that stay on its device (IO binding)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.cancellation import current_token
from ragturbo_runtime.captures import Captures, without_capture
from ragturbo_runtime.manifest import GraphEntry
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tensors import Tensor

if TYPE_CHECKING:
    import onnxruntime

_DEVICE = threading.RLock()
"""While a CUDA graph is recorded, no other thread may allocate or copy on a card."""


class DeviceRuns:
    """The ways to run one session; errors of ONNX Runtime pass through. Several threads may run it at once."""

    def __init__(
        self, session: onnxruntime.InferenceSession, spec: GraphEntry, options: SessionOptions
    ) -> None:
        """Keep the session.

        Args:
            session: A created session.
            spec: Its entry in the manifest.
            options: What it was made with.
        """
        self._session = session
        self._device = options.device
        self._names = [item.name for item in spec.outputs]
        self._captures = Captures(session, spec, options.device) if options.cuda_graphs else None
        self._plain = without_capture() if options.cuda_graphs else None

    def to_host(self, feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        """Run, and bring the outputs to numpy."""
        with self._turn(), self._run_options() as options:
            if all(isinstance(value, np.ndarray) for value in feeds.values()):
                outputs = self._session.run(self._names, dict(feeds), options)
                return dict(zip(self._names, outputs, strict=True))
            return {name: value.numpy() for name, value in self._bound(feeds, "cpu", 0, options).items()}

    def on_device(self, feeds: Mapping[str, Tensor]) -> dict[str, onnxruntime.OrtValue]:
        """Run, and leave the outputs on the device.

        With CUDA graphs the outputs lie where the last run of the same shapes had left its own: read them before
        the next one.
        """
        with self._turn(), self._run_options() as options:
            recorded = self._captures.run(feeds) if self._captures else None  # a replay cannot be stopped
            return recorded or self._bound(feeds, self._device.kind, self._device.index, options)

    def put(self, name: str, array: Array) -> onnxruntime.OrtValue:
        """Copy an array to the device, for several graphs to read.

        With CUDA graphs an array of the same name and shape takes the place of the last one.
        """
        with self._turn():
            placed = self._captures.put(name, array) if self._captures else None
            return self._upload(array) if placed is None else placed

    def _turn(self) -> AbstractContextManager[object]:
        return nullcontext() if self._captures is None else _DEVICE

    def _run_options(self) -> AbstractContextManager[onnxruntime.RunOptions | None]:
        """Options of one run; somebody who cancels the call ends it through them."""
        token = current_token()
        if token is None:
            return nullcontext(self._plain)
        import onnxruntime

        return token.stopping(onnxruntime.RunOptions() if self._plain is None else without_capture())

    def _upload(self, array: Array) -> onnxruntime.OrtValue:
        from onnxruntime import OrtValue

        device = self._device
        return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device.kind, device.index)

    def _bound(
        self, feeds: Mapping[str, Tensor], kind: str, index: int, options: onnxruntime.RunOptions | None
    ) -> dict[str, onnxruntime.OrtValue]:
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, self._upload(value) if isinstance(value, np.ndarray) else value)
        for name in self._names:
            binding.bind_output(name, kind, index)
        self._session.run_with_iobinding(binding, options)
        return dict(zip(self._names, binding.get_outputs(), strict=True))
