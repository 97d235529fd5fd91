"""docs/performance.json: one entry per device and family."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.benchmark.errors import BenchError
from export.benchmark.floor import Work
from export.benchmark.job import LABELS, OURS, OURS_OFF
from export.benchmark.peaks import Peaks
from export.benchmark.rounds import Measured
from ragturbo_runtime.files import write_bytes

NUMBERS, PAGE, PLOTS = "performance.json", "performance.md", "performance"
PACKAGES = (
    "torch",
    "diffusers",
    "open-clip-torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "optimum-onnx",
    "numpy",
)
Document = dict[str, dict[str, dict[str, Any]]]


def loading(measured: Measured) -> dict[str, Any]:
    """What loading took by row: milliseconds, the share of compiling, bytes at the peak, and reasons of failures.

    Returns:
        ``load_ms``, ``compile_ms``, ``peak_bytes``, ``notes``, ``failed``.
    """
    found: dict[str, dict[str, Any]] = {key: {} for key in ("load_ms", "compile_ms", "peak_bytes", "notes")}
    for row, loaded in measured.loaded.items():
        found["load_ms"][row] = round(loaded.load_ms, 1)
        if loaded.compile_ms:
            found["compile_ms"][row] = round(loaded.compile_ms, 1)
        if loaded.note:
            found["notes"][row] = loaded.note
        found["peak_bytes"] |= loaded.peak_bytes
    if OURS in found["load_ms"]:
        found["load_ms"][OURS_OFF] = found["load_ms"][OURS]  # one worker draws both
    failed = {row: measured.failed[row] for row in LABELS if row in measured.failed}
    bare = next((group.bare_failed for group in measured.groups if group.bare_failed), None)
    return {**found, "failed": failed if bare is None else {**failed, "bare graphs": bare}}


def floor(work: Mapping[str, Work], peaks: Peaks) -> dict[str, Any]:
    """The floor of a picture with retrieval, in sum and by graph.

    Returns:
        ``floor_ms`` and ``floor``.
    """
    graphs = {
        name: {
            "gflop": round(one.flops / 1e9, 3),
            "mbytes": round(one.bytes / 1e6, 3),
            "ms": round(one.floor_ms(peaks), 4),
        }
        for name, one in work.items()
    }
    return {
        "floor_ms": round(sum(one.floor_ms(peaks) for one in work.values()), 4),
        "floor": {
            "gflops_per_s": round(peaks.flops_per_s / 1e9, 1),
            "gbytes_per_s": round(peaks.bytes_per_s / 1e9, 1),
            "graphs": graphs,
        },
    }


def versions() -> dict[str, str]:
    """Of what is measured, as installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read_document(path: Path) -> Document:
    """Read docs/performance.json; empty where there is none.

    Raises:
        BenchError: It is no JSON object of objects.
    """
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchError(f"{path}: not JSON ({error}); restore or remove it") from error
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise BenchError(f"{path}: expected an object of devices; restore or remove it")
    return document


def merged(document: Document, device: str, family: str, entry: Mapping[str, Any]) -> Document:
    """Put one entry in the place of what was measured before; other devices and families stay."""
    families = {**document.get(device, {}), family: dict(entry)}
    return dict(sorted({**document, device: dict(sorted(families.items()))}.items()))


def write_document(path: Path, document: Document) -> None:
    """Write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
