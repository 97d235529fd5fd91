"""ONNX Runtime, imported so that it stays offline.

Its official builds send usage events to their maker unless ``ORT_DISABLE_TELEMETRY`` is set when it is imported
(onnxruntime's Privacy.md; met in 1.32 on Linux): importing them leaves a device's identifier in the user's cache. The
variable counts at that moment only, so it is set for that moment only (tests/sdk/test_offline.py).
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

_OFF = "ORT_DISABLE_TELEMETRY"
_lock = threading.Lock()


def import_onnxruntime() -> Any:  # noqa: ANN401 - a module without types
    """Import ONNX Runtime with its telemetry off.

    What the host has done before stays as it is: where it has imported ONNX Runtime itself, or has set the variable.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed, or cannot be loaded.
    """
    with _lock:
        ours = "onnxruntime" not in sys.modules and _OFF not in os.environ
        if ours:
            os.environ[_OFF] = "1"
        try:
            import onnxruntime
        finally:
            if ours:
                os.environ.pop(_OFF, None)
    return onnxruntime
