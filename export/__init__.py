"""From torch to a bundle: graphs, parity, library. Lives in the checkout, never in the wheel."""

import os
import sys
from pathlib import Path

import training  # noqa: F401 - before diffusers, which it keeps quiet

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ragturbo_runtime/onnxruntime_import.py says why
sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins
