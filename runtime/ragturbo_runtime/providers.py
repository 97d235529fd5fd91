"""From a device's name to ONNX Runtime's execution providers - never a silent fallback."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from ragturbo_runtime.cuda_libraries import preload_libraries
from ragturbo_runtime.diagnosis import INSTALL_CUDA, examine
from ragturbo_runtime.errors import InvalidInputError, ProviderUnavailableError
from ragturbo_runtime.onnxruntime_import import import_onnxruntime
from ragturbo_runtime.shown import shown

logger: logging.Logger = logging.getLogger(__name__)

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
        # The CPU stays in the list: ONNX Runtime wants the arithmetic of shapes there. So its own switch against a
        # silent fallback (session.disable_cpu_ep_fallback), which refuses that too, cannot be used;
        # ``require_provider`` looks at what came up instead.
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
    onnxruntime = import_onnxruntime()

    match = re.fullmatch(r"auto|cpu|cuda(?::([0-9]{1,9}))?", device) if isinstance(device, str) else None
    if match is None:
        raise InvalidInputError(
            f"device is {shown(device)}, expected 'auto', 'cpu', 'cuda' or 'cuda:<number>'",
            argument="device",
            hint="leave it out for 'auto'",
        )
    available = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return cpu_device()
    if CUDA not in available:
        raise unusable(device, available, "this installation of ONNX Runtime has no CUDA provider")
    for line in preload_libraries():
        logger.info("loading CUDA: %s", line)
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
        raise unusable(device.name, active, "CUDA was found but its libraries did not load")


def unusable(
    requested: str, available: list[str], what: str, *, portable: bool = False
) -> ProviderUnavailableError:
    """Say why a CUDA device cannot be used: what was found, what is needed and what to type.

    Args:
        requested: The device as asked for.
        available: Providers that there are.
        what: What went wrong.
        portable: Whether another bundle is the other way out, and not the CPU.

    Returns:
        The error to raise.
    """
    machine = examine()
    problems = machine.problems()
    works = "pass device='cuda'" if portable else f"check the driver and {INSTALL_CUDA}"
    cure = problems[0].cure if problems else works
    other = "use a bundle of the portable flavour" if portable else "pass device='cpu'"
    said = "".join(f"; {line}" for line in preload_libraries()) if CUDA in machine.providers else ""
    return ProviderUnavailableError(
        f"device {requested!r}: {what} ({machine.summary()}; needed: {CUDA}, a driver and the libraries of "
        f"CUDA {machine.cuda_generation}{said})",
        requested=requested,
        available=available,
        hint=f"{cure}; or {other}; ragturbo doctor tells everything",
    )
