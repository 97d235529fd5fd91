"""The pictures that are scored: one file per prompt, called by the prompt's id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from training.benchmarks.prompts import Prompt

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NAMED = 3
"""Missing pictures that an error names."""


@dataclass(frozen=True)
class PictureSet:
    """One row of the results: a picture of each prompt."""

    name: str
    files: Mapping[str, Path]
    """Prompt id -> picture."""
    protocol: Mapping[str, Any]
    """JSON values: where they come from."""


def find_pictures(source: Path, prompts: Sequence[Prompt]) -> PictureSet:
    """Find the picture of each prompt in a folder, or by TIFA's map of pictures.

    Args:
        source: A folder of ``ID.png`` (or jpg, jpeg, webp), or a JSON file ``{id: path relative to that file}``.
        prompts: Whose pictures are wanted; others may lie there too.

    Raises:
        FileNotFoundError: There is no such folder or file, or pictures are missing; names some.
        ValueError: The map cannot be read.
    """
    if source.is_dir():
        there = {path.name: path for path in source.iterdir() if path.suffix.lower() in SUFFIXES}
        found = {one.id: _first(there, one.id) for one in prompts}
    elif source.is_file():
        listed = _read_map(source)
        found = {one.id: source.parent / listed[one.id] if one.id in listed else None for one in prompts}
    else:
        raise FileNotFoundError(f"--pictures {source}: no such folder of pictures")
    files = {name: path for name, path in found.items() if path is not None and path.is_file()}
    if missing := [one.id for one in prompts if one.id not in files]:
        named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise FileNotFoundError(
            f"--pictures {source}: {len(missing)} of {len(prompts)} pictures are missing ({named}); wanted is a "
            f"picture of each prompt, called by its id ({prompts[0].id}.png); draw them, or take fewer prompts with "
            "--count"
        )
    return PictureSet(source.stem, files, {"pictures": f"the user's own, {source.name}"})


def list_pictures(folder: Path) -> list[Path]:
    """All pictures in a folder, by name.

    Raises:
        FileNotFoundError: There is no such folder, or fewer than two pictures in it.
    """
    found = (
        sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    if len(found) < 2:
        raise FileNotFoundError(
            f"--pictures-real {folder}: {len(found)} pictures; wanted is a folder of real ones ({', '.join(SUFFIXES)})"
            ", for COCO-5k the 5,000 of val2017"
        )
    return found


def open_picture(path: Path) -> Image.Image:
    """Open a picture as RGB.

    Raises:
        ValueError: It cannot be opened; names it.
    """
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a picture that can be opened ({error}); replace it") from error


def in_batches(paths: Sequence[Path], batch: int) -> Iterator[list[Image.Image]]:
    """Open pictures, ``batch`` at a time."""
    for first in range(0, len(paths), batch):
        yield [open_picture(path) for path in paths[first : first + batch]]


def _first(there: Mapping[str, Path], name: str) -> Path | None:
    return next((there[name + suffix] for suffix in SUFFIXES if name + suffix in there), None)


def _read_map(path: Path) -> dict[str, str]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--pictures {path}: neither a folder nor JSON ({error})") from error
    if not isinstance(listed, dict) or not all(isinstance(value, str) for value in listed.values()):
        raise ValueError(f"--pictures {path}: a map of pictures is a JSON object, id to file name")
    return listed
