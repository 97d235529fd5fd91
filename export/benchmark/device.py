"""Everything that differs between a CPU and a CUDA device; the rest of the benchmark knows of no difference."""

from __future__ import annotations

import platform
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from export.benchmark.errors import BenchError
from ragturbo_runtime.nvidia_driver import Card, read_driver

if TYPE_CHECKING:
    import torch

_STATUS, _CPUINFO = Path("/proc/self/status"), Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Device:
    """Where a benchmark runs.

    Attributes:
        name: ``"cpu"`` or ``"cuda:0"``, as torch and ragturbo both call it.
        index: Which card; 0 for the CPU.
    """

    name: str
    index: int = 0

    @property
    def is_cuda(self) -> bool:
        """Whether it is a card."""
        return self.name != "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """What torch computes in: half precision on a card, as the flavours for it do."""
        import torch

        return torch.float16 if self.is_cuda else torch.float32

    def min_psnr_db(self, *, rounded: bool) -> float:
        """How near the pictures of two rows must come.

        Args:
            rounded: Whether one of them has weights of 8 bits. In half precision both round, each in its own order.
        """
        return 30.0 if self.is_cuda or rounded else 45.0

    @property
    def compile_mode(self) -> str:
        """Of torch.compile: on a card kernels are so short that starting them counts, so they are recorded."""
        return "reduce-overhead" if self.is_cuda else "default"

    @property
    def channels_last(self) -> bool:
        """Whether torch's convolutions are faster with channels last: cuDNN's in half precision are."""
        return self.is_cuda

    @property
    def providers(self) -> list[tuple[str, dict[str, str]]]:
        """What optimum gives to ONNX Runtime."""
        if self.is_cuda:
            return [("CUDAExecutionProvider", {"device_id": str(self.index)})]
        return [("CPUExecutionProvider", {})]

    @property
    def matrix_side(self) -> int:
        """Side of the matrices that the peak is measured with: large enough, and no longer than a second."""
        return 8192 if self.is_cuda else 2048

    def label(self, threads: int) -> str:
        """The key of this device in docs/performance.json, for example ``"cpu: AMD EPYC, 2 cores"``."""
        if self.is_cuda:
            return f"cuda: {self._card().name}"
        cores = "core" if threads == 1 else "cores"
        return f"cpu: {_processor()}, {threads} {cores}"

    def synchronize(self) -> None:
        """Wait for what was started."""
        if self.is_cuda:
            import torch

            torch.cuda.synchronize(self.index)

    def free_bytes(self) -> int:
        """How much memory new processes can take: of the card, or of the machine."""
        return self._card().free_bytes if self.is_cuda else int(psutil.virtual_memory().available)

    def peak_bytes(self, free_before: int) -> int:
        """The most memory that this process took so far.

        Args:
            free_before: `free_bytes` before it started, while nobody else started or ended. On a card that tells
                what it holds: caching allocators never give back what they once needed, ONNX Runtime's arena neither.

        Returns:
            Bytes; on the CPU resident ones, libraries and mapped files included.
        """
        if self.is_cuda:
            return max(0, free_before - self.free_bytes())
        if _STATUS.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
            return int(match[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def _card(self) -> Card:
        return next(card for card in read_driver().cards if card.index == self.index)


def find_device(name: str) -> Device:
    """Read ``--device``.

    Raises:
        BenchError: It is no device's name, or torch or the driver sees no such card.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise BenchError(f"--device is {name!r}; expected cpu, cuda or cuda:1")
    if name == "cpu":
        return Device("cpu")
    index = int(match[1] or 0)
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= seen or all(card.index != index for card in read_driver().cards):
        raise BenchError(f"--device is {name!r}, but torch sees {seen} CUDA devices here; use --device cpu")
    return Device(f"cuda:{index}", index)


def usable_cores() -> int:
    """Physical cores that this process may use: what all rows get as threads."""
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _processor() -> str:
    if _CPUINFO.exists() and (match := re.search(r"model name\s*:\s*(.+)", _CPUINFO.read_text())):
        return " ".join(match[1].split())
    return platform.processor() or platform.machine()
