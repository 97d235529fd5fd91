"""One ONNX graph, ready to run: the border between numpy and ONNX Runtime.

Names, dtypes and shapes are compared with the manifest once, when the session is made, and numpy inputs once
per run; every exception of ONNX Runtime becomes one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.errors import (
    BundleCorruptError,
    InferenceError,
    InvalidInputError,
    ProviderUnavailableError,
    RagTurboError,
)
from ragturbo_runtime.manifest import GraphEntry, TensorSpec
from ragturbo_runtime.providers import Device, require_provider

if TYPE_CHECKING:
    import onnxruntime

Tensor: TypeAlias = "Array | onnxruntime.OrtValue"
"""A numpy array, or what another graph left on the device."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
_BAD_FILE = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoSuchFile", "NoModel", "NotImplemented")


@dataclass(frozen=True)
class SessionOptions:
    """How sessions are made.

    Attributes:
        device: Where the graph runs.
        threads: Threads per graph on the CPU; None leaves the choice to ONNX Runtime (one per physical core).
    """

    device: Device
    threads: int | None = None


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
            options: Device and threads.

        Raises:
            BundleCorruptError: The file is no ONNX model, or has another signature than the manifest says.
            ProviderUnavailableError: The session would not run on the device.
        """
        self.name = name
        self._path = path
        self._spec = spec
        self._options = options
        self._session = self._create()
        require_provider(options.device, self._session.get_providers())
        self._check_signature("input", spec.inputs, self._session.get_inputs())
        self._check_signature("output", spec.outputs, self._session.get_outputs())
        self._inputs = {item.name: item for item in spec.inputs}
        self._outputs = [item.name for item in spec.outputs]

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        """Run the graph and bring its outputs to numpy.

        Args:
            feeds: One tensor per input, of the dtype and shape that the manifest says.

        Returns:
            The outputs by name.

        Raises:
            InvalidInputError: An input is missing, unknown, or of another dtype or shape.
            InferenceError: ONNX Runtime failed.
        """
        self._check_feeds(feeds)
        if all(isinstance(value, np.ndarray) for value in feeds.values()):
            outputs = self._guard(lambda: self._session.run(self._outputs, dict(feeds)))
            return dict(zip(self._outputs, outputs, strict=True))
        return {name: value.numpy() for name, value in self._run_bound(feeds, "cpu", 0).items()}

    def run_on_device(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the graph and leave its outputs on the device, for the next graph to read.

        Args:
            feeds: One tensor per input, of the dtype and shape that the manifest says.

        Returns:
            The outputs by name: arrays where the device is the CPU (binding them would only cost time), elsewhere
            OrtValues, which ``numpy()`` brings to the host.

        Raises:
            InvalidInputError: An input is missing, unknown, or of another dtype or shape.
            InferenceError: ONNX Runtime failed.
        """
        if self._options.device.kind == "cpu":
            return self.run(feeds)
        self._check_feeds(feeds)
        return self._run_bound(feeds, self._options.device.kind, self._options.device.index)

    def _run_bound(
        self, feeds: Mapping[str, Tensor], kind: str, index: int
    ) -> dict[str, onnxruntime.OrtValue]:
        from onnxruntime import OrtValue

        def run() -> list[OrtValue]:
            binding = self._session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, np.ndarray):
                    device = self._options.device
                    value = OrtValue.ortvalue_from_numpy(
                        np.ascontiguousarray(value), device.kind, device.index
                    )
                binding.bind_ortvalue_input(name, value)
            for name in self._outputs:
                binding.bind_output(name, kind, index)
            self._session.run_with_iobinding(binding)
            return list(binding.get_outputs())

        return dict(zip(self._outputs, self._guard(run), strict=True))

    def _create(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        device = self._options.device
        try:
            # enable_fallback=0: a provider that fails raises, instead of printing and going on with the CPU.
            return onnxruntime.InferenceSession(
                self._path, _session_options(self._options), providers=device.providers, enable_fallback=0
            )
        except Exception as exc:
            raise self._creation_error(exc) from exc

    def _creation_error(self, exc: Exception) -> RagTurboError:
        device = self._options.device
        if device.kind != "cpu" and type(exc).__name__ not in _BAD_FILE:
            return ProviderUnavailableError(
                f"device {device.name!r}: {self.name} could not be set up on it ({_first_line(exc)})",
                requested=device.name,
                available=[name for name, _ in device.providers],
                hint="pass device='cpu', or check the driver and `pip install 'ragturbo-sdk[cuda]'`",
            )
        return BundleCorruptError(
            f"{self._spec.file.file}: not a graph that ONNX Runtime can load ({_first_line(exc)})",
            path=self._path,
            hint="download or export the bundle again",
        )

    def _guard(self, call: Any) -> Any:  # noqa: ANN401 - whatever the call returns
        # ONNX Runtime's exception classes share no base but Exception.
        try:
            return call()
        except Exception as exc:
            raise InferenceError(f"{self.name}: {_first_line(exc)}", graph=self.name) from exc

    def _check_signature(self, kind: str, specs: tuple[TensorSpec, ...], found: list[Any]) -> None:
        expected = {item.name: (item.dtype, item.shape) for item in specs}
        actual = {item.name: (_DTYPES.get(item.type, item.type), tuple(item.shape)) for item in found}
        if expected.keys() == actual.keys() and all(_agree(expected[n], actual[n]) for n in expected):
            return
        raise BundleCorruptError(
            f"{self._spec.file.file}: its {kind}s are {actual}, the manifest says {expected}",
            path=self._path,
            hint="export the bundle again",
        )

    def _check_feeds(self, feeds: Mapping[str, Tensor]) -> None:
        if feeds.keys() != self._inputs.keys():
            raise InvalidInputError(
                f"{self.name}: got inputs {sorted(feeds)}, expected {sorted(self._inputs)}", argument="feeds"
            )
        for name, value in feeds.items():
            spec = self._inputs[name]
            if isinstance(value, np.ndarray) and not _agree((value.dtype.name, value.shape), _key(spec)):
                raise InvalidInputError(
                    f"{self.name}: {name} is {value.dtype.name} {value.shape}, expected {spec.dtype} {spec.shape}",
                    argument=name,
                )


def _session_options(options: SessionOptions) -> onnxruntime.SessionOptions:
    import onnxruntime

    result = onnxruntime.SessionOptions()
    result.log_severity_level = 3  # errors; warnings would go to stderr, not to logging
    result.intra_op_num_threads = options.threads or 0
    # Within a graph the threads wait for each other at every node: asleep, two are no faster than one. But the
    # graphs run one after the other, and a pool that spins on after its graph takes a core from the next one's.
    result.add_session_config_entry("session.force_spinning_stop", "1")
    return result


def _key(spec: TensorSpec) -> tuple[str, tuple[int | str, ...]]:
    return spec.dtype, spec.shape


def _agree(first: tuple[str, tuple[Any, ...]], second: tuple[str, tuple[Any, ...]]) -> bool:
    """Whether dtype, rank and every fixed dimension are equal."""
    (dtype, shape), (other_dtype, other_shape) = first, second
    return (
        dtype == other_dtype
        and len(shape) == len(other_shape)
        and all(
            a == b or isinstance(a, str | None) or isinstance(b, str | None)
            for a, b in zip(shape, other_shape, strict=True)
        )
    )


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
