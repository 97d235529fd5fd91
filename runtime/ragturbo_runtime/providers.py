"""From a device's name to ONNX Runtime's execution providers - never a silent fallback."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ragturbo_runtime.errors import InvalidInputError, ProviderUnavailableError

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Device:
    """A device that the graphs run on.

    Attributes:
        name: ``"cpu"`` or ``"cuda:0"``.
        kind: ``"cpu"`` or ``"cuda"``, ONNX Runtime's name for where tensors lie.
        index: Which card; 0 for the CPU.
        may_fall_back: True where the caller said ``"auto"``.
    """

    name: str
    kind: str
    index: int
    may_fall_back: bool

    @property
    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """The provider list for ``onnxruntime.InferenceSession``, options included."""
        if self.kind == "cpu":
            return [(CPU, {})]
        options = {
            "device_id": str(self.index),
            # EXHAUSTIVE, the default, tries every algorithm at each new shape: seconds, for the same steady
            # state.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The default doubles the arena at each growth.
            "arena_extend_strategy": "kSameAsRequested",
        }
        return [(CUDA, options), (CPU, {})]


def cpu_device() -> Device:
    """Return the CPU."""
    return Device(name="cpu", kind="cpu", index=0, may_fall_back=False)


def find_device(device: str) -> Device:
    """Read a device's name and check that this installation of ONNX Runtime has it.

    Args:
        device: ``"auto"`` (the first CUDA card if this installation knows CUDA, else the CPU), ``"cpu"``,
            ``"cuda"`` or ``"cuda:1"``.

    Returns:
        The device. That its provider really came up is checked again, by ``require_provider``, on every
        session.

    Raises:
        InvalidInputError: The name is none of these.
        ProviderUnavailableError: CUDA was asked for by name and the installed ONNX Runtime is built without
            it.
    """
    import onnxruntime

    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if match is None:
        raise InvalidInputError(
            f"device is {device!r}, expected 'auto', 'cpu', 'cuda' or 'cuda:<number>'", argument="device"
        )
    available = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return cpu_device()
    if CUDA not in available:
        raise _no_cuda(device, available, "this installation of ONNX Runtime has no CUDA provider")
    onnxruntime.preload_dlls()
    index = int(match[1] or 0)
    return Device(name=f"cuda:{index}", kind="cuda", index=index, may_fall_back=device == "auto")


def require_provider(device: Device, active: list[str]) -> None:
    """Check, after a session was made, that it runs where it was meant to.

    ONNX Runtime answers a request for CUDA that it cannot meet with a session on the CPU and a line on
    stderr.

    Args:
        device: What was asked for.
        active: ``session.get_providers()``.

    Raises:
        ProviderUnavailableError: The session runs elsewhere.
    """
    if device.kind == "cuda" and CUDA not in active:
        raise _no_cuda(device.name, active, "CUDA was found but its libraries did not load")


def _no_cuda(requested: str, available: list[str], what: str) -> ProviderUnavailableError:
    found = _installed_runtimes()
    both = len(found) > 1
    return ProviderUnavailableError(
        f"device {requested!r}: {what} (installed: {', '.join(found) or 'unknown'}; providers: "
        f"{', '.join(available)}; needed: {CUDA})",
        requested=requested,
        available=available,
        hint="pip uninstall onnxruntime onnxruntime-gpu, then pip install 'ragturbo-sdk[cuda]'"
        if both
        else "pip uninstall onnxruntime, then pip install 'ragturbo-sdk[cuda]'; or pass device='cpu'",
    )


def _installed_runtimes() -> list[str]:
    """Name the installed distributions: with both, the CPU one hides the other."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
