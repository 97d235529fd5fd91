"""One ONNX graph, ready to run: the border between numpy and ONNX Runtime.

Names, dtypes and shapes are compared with the manifest once, when the session is made, and inputs once per run; every
exception of ONNX Runtime becomes one of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.cancellation import current_token
from ragturbo_runtime.device_runs import DeviceRuns
from ragturbo_runtime.errors import (
    BundleCorruptError,
    GenerationCancelledError,
    InferenceError,
    InvalidInputError,
    RagTurboError,
)
from ragturbo_runtime.manifest import GraphEntry, TensorSpec
from ragturbo_runtime.onnxruntime_import import import_onnxruntime
from ragturbo_runtime.providers import require_provider, unusable
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tensors import DTYPES, Tensor, agree, describe, fit

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["GraphSession", "SessionOptions", "Tensor"]

Result = TypeVar("Result")

_BAD_FILE = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoSuchFile", "NoModel", "NotImplemented")
_NO_ROOM = ("Failed to allocate memory", "Available memory of", "out of memory", "OUT_OF_MEMORY")


class GraphSession:
    """One graph on one device. Several threads may run it at once.

    Attributes:
        name: The graph's name in the manifest.
    """

    def __init__(self, name: str, path: Path, spec: GraphEntry, options: SessionOptions) -> None:
        """Load the graph and compare its signature with the manifest.

        Args:
            name: The graph's name, for messages.
            path: The ONNX file.
            spec: Its entry in the manifest.
            options: Device, threads and so on.

        Raises:
            BundleCorruptError: The file is no ONNX model, or has another signature than the manifest says.
            ProviderUnavailableError: The session would not run on the device.
        """
        self.name = name
        self._path = path
        self._spec = spec
        self._options = options
        session = self._create()
        require_provider(options.device, session.get_providers())
        self._check_signature("input", spec.inputs, session.get_inputs())
        self._check_signature("output", spec.outputs, session.get_outputs())
        self._runs = DeviceRuns(session, spec, options)
        self._inputs = {item.name: item for item in spec.inputs}

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        """Run the graph and bring its outputs to numpy.

        Args:
            feeds: One tensor per input, of the dtype and shape that the manifest says; float32 and float16 stand
                for each other.

        Returns:
            The outputs by name, of the manifest's dtypes.

        Raises:
            InvalidInputError: An input is missing, unknown, or of another dtype or shape.
            InferenceError: ONNX Runtime failed.
            GenerationCancelledError: The call that it runs for was cancelled.
        """
        ready = self._check_feeds(feeds)
        return self._guard(lambda: self._runs.to_host(ready))

    def run_on_device(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the graph and leave its outputs on the device, for the next graph to read.

        With CUDA graphs they lie where the last run of the same shapes had left its own.

        Args:
            feeds: As for ``run``.

        Returns:
            The outputs by name: arrays where the device is the CPU (binding them would only cost time), elsewhere
            OrtValues, which ``tensors.to_host`` brings to the host.

        Raises:
            InvalidInputError: An input is missing, unknown, or of another dtype or shape.
            InferenceError: ONNX Runtime failed.
            GenerationCancelledError: The call that it runs for was cancelled.
        """
        if not self._options.binds:
            return self.run(feeds)
        ready = self._check_feeds(feeds)
        return self._guard(lambda: self._runs.on_device(ready))

    def put(self, name: str, value: Tensor) -> Tensor:
        """Bring one input to the device, so that several runs can read it there.

        Args:
            name: The input.
            value: As for ``run``.

        Returns:
            What to give to ``run``: on the CPU the array, of the dtype that the graph reads.

        Raises:
            InvalidInputError: The value is of another dtype or shape.
            InferenceError: ONNX Runtime failed.
        """
        ready = self._check_feed(name, value)
        if not isinstance(ready, np.ndarray) or not self._options.binds:
            return ready
        return self._guard(lambda: self._runs.put(name, ready))

    def _create(self) -> onnxruntime.InferenceSession:
        onnxruntime = import_onnxruntime()

        options = self._options
        try:
            # enable_fallback=0: a provider that fails raises, instead of printing and going on with the CPU.
            return onnxruntime.InferenceSession(
                self._path, options.for_onnxruntime(), providers=options.providers, enable_fallback=0
            )
        except Exception as exc:
            raise self._creation_error(exc) from exc

    def _creation_error(self, exc: Exception) -> RagTurboError:
        device = self._options.device
        if device.kind != "cpu" and type(exc).__name__ not in _BAD_FILE:
            available = [name for name, _ in device.providers]
            return unusable(
                device.name, available, f"{self.name} could not be set up on it ({_first_line(exc)})"
            )
        return BundleCorruptError(
            f"{self._spec.file.file}: not a graph that ONNX Runtime can load ({_first_line(exc)})",
            path=self._path,
            hint="download or export the bundle again",
        )

    def _guard(self, call: Callable[[], Result]) -> Result:
        # ONNX Runtime's exception classes share no base but Exception.
        try:
            return call()
        except GenerationCancelledError:
            raise
        except Exception as exc:
            if (token := current_token()) is not None:
                token.raise_if_cancelled()
            message = _first_line(exc)
            full = any(words in str(exc) for words in _NO_ROOM)
            hint = "draw fewer pictures at once, or raise memory_limit if there is one" if full else None
            raise InferenceError(f"{self.name}: {message}", graph=self.name, hint=hint) from exc

    def _check_signature(self, kind: str, specs: tuple[TensorSpec, ...], found: list[Any]) -> None:
        expected = {item.name: (item.dtype, item.shape) for item in specs}
        actual = {item.name: (DTYPES.get(item.type, item.type), tuple(item.shape)) for item in found}
        if expected.keys() == actual.keys() and all(agree(expected[n], actual[n]) for n in expected):
            return
        raise BundleCorruptError(
            f"{self._spec.file.file}: its {kind}s are {actual}, the manifest says {expected}",
            path=self._path,
            hint="export the bundle again",
        )

    def _check_feeds(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if feeds.keys() != self._inputs.keys():
            raise InvalidInputError(
                f"{self.name}: got inputs {sorted(feeds)}, expected {sorted(self._inputs)}", argument="feeds"
            )
        return {name: self._check_feed(name, value) for name, value in feeds.items()}

    def _check_feed(self, name: str, value: Tensor) -> Tensor:
        """Return the input in the dtype that the graph reads."""
        spec = self._inputs[name]
        value = fit(value, spec.dtype)
        dtype, shape = describe(value)
        if not agree((dtype, shape), (spec.dtype, spec.shape)):
            raise InvalidInputError(
                f"{self.name}: {name} is {dtype} {shape}, expected {spec.dtype} {spec.shape}", argument=name
            )
        return value


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
