"""Real pictures, lists and shards for tests, and the opposite of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ragturbo_runtime.arrays import Pixels


def scenery(height: int = 24, width: int = 40) -> Pixels:
    """Pixels without any symmetry: shades run both ways, and one corner is red."""
    down, across = np.mgrid[0:height, 0:width]
    pixels = np.stack([down * 255 // height, across * 255 // width, (down + across) % 256], axis=2)
    pixels[: height // 3, : width // 3] = 255, 0, 0
    return pixels.astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def png(colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (48, 32)) -> bytes:
    """A PNG file of one colour."""
    return encoded(Image.new("RGB", size, colour), "PNG")


def shard(path: Path, files: Mapping[str, bytes | str | Mapping[str, Any]]) -> Path:
    """A tar archive; what is a mapping is written as JSON."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes | str | Mapping[str, Any]) -> None:
    """One file more; also where an archive needs a name twice."""
    data = json.dumps(content) if isinstance(content, Mapping) else content
    data = data.encode() if isinstance(data, str) else data
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def samples(names: Iterable[str]) -> dict[str, bytes | str | Mapping[str, Any]]:
    """A red picture and a caption for each name."""
    files: dict[str, bytes | str | Mapping[str, Any]] = {}
    for name in names:
        files |= {f"{name}.png": png(), f"{name}.txt": f"a picture of {name}"}
    return files
