"""Is there room for an export? Asked before anything is loaded: SD-Turbo's takes minutes to fail."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from export.errors import ExportError
from training.family.folder import SETTINGS_FILE, read_json
from training.family.text_tower import WEIGHTS_FILE
from training.family.weight_files import find_weights

GIB = 2**30
COPIES = 2.0
"""Of the float32 weights in memory at once: torch's, and ONNX Runtime's when the whole chain is compared."""
WORKING_BYTES_PER_PIXEL = 14 * 2**10
"""Beside the weights, per pixel of a picture: activations of the autoencoder's decoder, three pictures at a time."""
BASELINE = 1 * GIB
"""What Python, torch and ONNX Runtime take before the first weight."""
_IMAGE_TOWER = "visual."


def check_room(checkpoint: Path | None, base: Path, out: Path) -> None:
    """Refuse an export that would run out of memory or of disk.

    Args:
        checkpoint: adapter.safetensors, or None without one.
        base: The family's folder. What is missing or damaged there is not said here: whoever loads it says it better.
        out: Where the bundle will be; need not exist.

    Raises:
        ExportError: There is too little of one; the message says how much is needed and how much there is.
    """
    try:
        weights = weight_bytes(base, checkpoint)
        resolution = int(read_json(base / SETTINGS_FILE)["resolution"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return
    memory = int(COPIES * weights + WORKING_BYTES_PER_PIXEL * resolution**2 + BASELINE)
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    _require(
        "memory", memory, psutil.virtual_memory().available, "end other programs, or take a larger machine"
    )
    _require(
        f"disk in {folder}", weights, shutil.disk_usage(folder).free, "make room, or choose another --out"
    )


def weight_bytes(base: Path, checkpoint: Path | None) -> int:
    """How many bytes a family's graphs hold as float32, read from the headers of its files.

    Args:
        base: The family's folder.
        checkpoint: adapter.safetensors, or None without one.

    Returns:
        Bytes of U-Net, autoencoder, text tower and adapter; an image tower beside the text tower does not count.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: There are several variants of a part.
    """
    files = [*find_weights(base / "unet").paths, *find_weights(base / "vae").paths]
    files += [base / "text_encoder" / WEIGHTS_FILE, *([] if checkpoint is None else [checkpoint])]
    return 4 * sum(_parameters(file) for file in files)


def _require(what: str, needed: int, available: int, way_out: str) -> None:
    if available < needed:
        raise ExportError(
            f"too little {what}: the export needs about {needed / GIB:.1f} GiB, {available / GIB:.1f} GiB are free; "
            f"{way_out}"
        )


def _parameters(file: Path) -> int:
    with safe_open(file, framework="numpy") as opened:
        names = [name for name in opened.keys() if not name.startswith(_IMAGE_TOWER)]
        return sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
