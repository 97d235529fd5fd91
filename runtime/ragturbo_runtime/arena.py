"""One memory arena for all graphs of a device, instead of one per graph."""

from __future__ import annotations

import logging
import threading

from ragturbo_runtime.onnxruntime_import import import_onnxruntime
from ragturbo_runtime.providers import CPU, CUDA, Device

logger: logging.Logger = logging.getLogger(__name__)

_lock = threading.Lock()
_registered: dict[str, int | None] = {}
"""Limit in bytes by device. ONNX Runtime keeps a registered arena until the process ends."""

_POWER_OF_TWO, _SAME_AS_REQUESTED = 0, 1
_FIRST_CHUNK = 2**30
_SETTINGS = {
    # The default doubles the arena at each growth: on a card each byte is taken from others.
    "cuda": {"arena_extend_strategy": _SAME_AS_REQUESTED},
    # Here only touched pages count. In one large piece tensors of all sizes find room beside each other; in pieces
    # that grew with the graph, SD-Turbo's last tensors of 268 MB take half as much again.
    "cpu": {"arena_extend_strategy": _POWER_OF_TWO, "initial_chunk_size_bytes": _FIRST_CHUNK},
}


def share_arena(device: Device, limit: int | None) -> bool:
    """Register an arena for a device with ONNX Runtime, once per process.

    Without it each graph has an arena of its own, and keeps what its largest run took while the others run.

    Args:
        device: The device.
        limit: The most bytes that the arena may hold, or None.

    Returns:
        Whether sessions can use it. False, with a line in the log, where this build of ONNX Runtime has no such
        arena, or where one of another limit is there already.
    """
    with _lock:
        if device.name not in _registered:
            try:
                _register(device, limit)
            except Exception as exc:  # ONNX Runtime's exception classes share no base but Exception
                logger.info("%s: each graph has an arena of its own (%s)", device.name, exc)
                return False
            _registered[device.name] = limit
        if _registered[device.name] != limit:
            logger.info(
                "%s: the process's arena has another limit; each graph has one of its own", device.name
            )
            return False
        return True


def _register(device: Device, limit: int | None) -> None:
    onnxruntime = import_onnxruntime()

    where = {"cpu": ("Cpu", CPU), "cuda": ("Cuda", CUDA)}
    name, provider = where[device.kind]
    info = onnxruntime.OrtMemoryInfo(
        name, onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, device.index, onnxruntime.OrtMemType.DEFAULT
    )
    # 0 is no limit.
    settings = {"max_mem": limit or 0, **_SETTINGS[device.kind]}
    onnxruntime.create_and_register_allocator_v2(provider, info, {}, onnxruntime.OrtArenaCfg(settings))
