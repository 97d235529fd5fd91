"""What is known of a graph that was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.precision import Precision
from ragturbo_runtime.manifest import Parity, TensorSpec


@dataclass(frozen=True)
class Stored:
    """One graph on the disk.

    Attributes:
        path: The ONNX file.
        data: The file of its weights, or None if the graph holds them.
        parity: How near it came to torch.
        inputs: As they are in the file: a flavour may have other dtypes than `export.graphs` says.
        outputs: Likewise.
        precision: How float16 computes it; None where it computes in float32.
    """

    path: Path
    data: Path | None
    parity: Parity
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision | None = None

    @property
    def bytes(self) -> int:
        """Of both files."""
        return sum(path.stat().st_size for path in (self.path, self.data) if path is not None)
