"""torch in the place of ONNX Runtime's sessions, for graphs that only a GPU runs: the same inputs, the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.graphs import GraphSpec
from export.precision import Precision
from export.stored import Stored
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.loading import Parts
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.sampler import Schedule
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tokenizer import Tokenizer

Array = NDArray[np.generic]


class TorchSession:
    """A graph as torch computes it.

    Attributes:
        name: The graph's name in the manifest.
    """

    def __init__(self, spec: GraphSpec, precision: Precision | None = None) -> None:
        """Keep the graph.

        Args:
            spec: The graph.
            precision: Round as float16 does; None for torch's own float32.
        """
        self.name = spec.name
        self._spec, self._precision = spec, precision

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs.

        Args:
            feeds: An array for each input; float16 is taken for float32.

        Returns:
            Arrays by name: float32, or float16 if it rounds.
        """
        inputs = [self._read(feeds[tensor.name]) for tensor in self._spec.inputs]
        outputs = self._exact(inputs) if self._precision is None else self._rounded(inputs, self._precision)
        return {spec.name: value.numpy() for spec, value in zip(self._spec.outputs, outputs, strict=True)}

    def run_on_device(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Like `run`: the device is the CPU."""
        return self.run(feeds)

    def put(self, name: str, value: Array) -> Array:
        """Return the value as it is: the device is the CPU."""
        return value

    def _exact(self, inputs: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return _listed(self._spec.reference(*inputs))

    def _rounded(self, inputs: list[Tensor], precision: Precision) -> list[Tensor]:
        mode = precision.rounding()
        with torch.no_grad():
            taken = [mode.take(tensor) for tensor in inputs]
            with mode:
                outputs = _listed(self._spec.module(*taken))
        return [tensor.half() if tensor.dtype == torch.float32 else tensor for tensor in outputs]

    @staticmethod
    def _read(array: Array) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.float() if tensor.dtype == torch.float16 else tensor


def torch_pipeline(specs: Iterable[GraphSpec], stored: Mapping[str, Stored]) -> Callable[[Bundle], Pipeline]:
    """Let the runtime draw with torch.

    Args:
        specs: The bundle's graphs.
        stored: What was written, which says how each rounds.

    Returns:
        A function that opens a bundle so.
    """
    sessions = {spec.name: TorchSession(spec, stored[spec.name].precision) for spec in specs}

    def load(bundle: Bundle) -> Pipeline:
        manifest = bundle.manifest
        part = manifest.library
        parts = Parts(
            options=SessionOptions(cpu_device()),
            tokenizer=Tokenizer.load(bundle.file(manifest.tokenizer), manifest.text.context_length),
            schedule=Schedule.from_manifest(manifest.scheduler),
            graphs=cast("dict[str, GraphSession]", sessions),
            library=None if part is None else Library(bundle.library_directory(part)),
        )
        return Pipeline(bundle, parts)

    return load


def _listed(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)
