"""PNG files that say how they were made.

Two text chunks: ``ragturbo`` holds JSON for programs (prompt, seed, references, bundle, version), and
``parameters`` one line for people, in the form that picture browsers of this field show.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ragturbo_runtime.files import write_bytes
from ragturbo_sdk.errors import InvalidInputError, OutputError

KEY = "ragturbo"
PEOPLE_KEY = "parameters"
_NAME = "choose another name"


def check_png_path(path: str | os.PathLike[str]) -> Path:
    """Check, before any work is done, that a PNG can be written to a path.

    Args:
        path: The file to write. Its folder exists; a file that is there already will be replaced.

    Returns:
        The path with links followed, so that a link to a file stays one.

    Raises:
        OutputError: The name does not end in ``.png``, the folder is missing or read-only, or the path is
            something else than a plain file.
    """
    try:
        target = Path(os.path.realpath(path))
        fault = _fault(target)
    except (OSError, TypeError, ValueError) as error:  # a name too long, no path at all, a NUL in it
        raise OutputError(f"{path!r}: cannot be written ({error})", path=str(path), hint=_NAME) from error
    if fault:
        raise OutputError(f"{os.fspath(path)}: cannot be written, {fault[0]}", path=target, hint=fault[1])
    return target


def _fault(target: Path) -> tuple[str, str] | None:
    """What stands against writing the file, and the way out; None if nothing does."""
    folder = target.parent
    if target.suffix.lower() != ".png":
        return "pictures are written as PNG", "end the name in .png"
    if target.exists() and not target.is_file():
        return "it exists and is not a plain file", _NAME
    if not folder.is_dir():
        return f"there is no folder {folder}", "make the folder, or choose another"
    if not os.access(folder, os.W_OK):
        return f"the folder {folder} is read-only", "choose a writable folder"
    return None


def encode_png(image: Image.Image, metadata: Mapping[str, Any]) -> bytes:
    """Encode a picture with its metadata.

    Args:
        image: RGB.
        metadata: As :meth:`ragturbo_sdk.GenerationResult.metadata` gives it; JSON values only.

    Returns:
        The bytes of a PNG file.
    """
    text = PngImagePlugin.PngInfo()
    text.add_itxt(KEY, json.dumps(metadata, ensure_ascii=False))
    text.add_itxt(PEOPLE_KEY, _for_people(metadata, image))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue()


def write_png(path: Path, image: Image.Image, metadata: Mapping[str, Any]) -> None:
    """Write a picture with its metadata, whole or not at all.

    Args:
        path: As :func:`check_png_path` gave it.
        image: RGB.
        metadata: See :func:`encode_png`.

    Raises:
        OutputError: The file cannot be written; nothing is left behind.
    """
    write_bytes(path, encode_png(image, metadata))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read how a picture was made.

    Args:
        path: A PNG that :meth:`ragturbo_sdk.GenerationResult.save` wrote.

    Returns:
        ``prompt``, ``seed``, ``num_inference_steps``, ``strength``, ``references`` (each with ``id``,
        ``caption``, ``similarity``, ``weight``, ``source``, ``licence``), ``bundle`` (``name``, ``version``)
        and ``version`` of ragturbo.

    Raises:
        InvalidInputError: There is no such file, it is no picture, or it does not say.
    """
    try:
        with Image.open(path) as image:
            text = image.info.get(KEY)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise _no_metadata(path, f"cannot be read as a picture ({error})") from error
    if not isinstance(text, str):
        raise _no_metadata(path, "does not say how it was made")
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise _no_metadata(path, f"its {KEY!r} text is no JSON ({error})") from error
    if not isinstance(metadata, dict):
        raise _no_metadata(path, f"its {KEY!r} text is no JSON object")
    return metadata


def _no_metadata(path: str | os.PathLike[str], what: str) -> InvalidInputError:
    hint = "give a PNG that ragturbo wrote"
    return InvalidInputError(f"{os.fspath(path)}: {what}", argument="path", hint=hint)


def _for_people(metadata: Mapping[str, Any], image: Image.Image) -> str:
    bundle = metadata["bundle"]
    settings = {
        "Steps": metadata["num_inference_steps"],
        "Seed": metadata["seed"],
        "Size": f"{image.width}x{image.height}",
        "Model": f"{bundle['name']} {bundle['version']}",
        "References": len(metadata["references"]),
        "Strength": metadata["strength"],
        "Version": f"ragturbo {metadata['version']}",
    }
    return f"{metadata['prompt']}\n" + ", ".join(f"{name}: {value}" for name, value in settings.items())
