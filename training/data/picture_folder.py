"""Captioned pictures in a folder, in Hugging Face's imagefolder convention.

``metadata.csv`` or ``metadata.jsonl`` beside the pictures says, for each, ``file_name`` (relative to the folder) and
``text``; ``caption`` is taken for ``text`` too. Other columns do not count.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

METADATA = ("metadata.csv", "metadata.jsonl")
CAPTIONS = ("text", "caption")
NAMED = 5
"""Bad entries that an error names."""


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture."""

    path: Path
    caption: str


def find_metadata(folder: Path) -> Path:
    """Find the file that says the captions.

    Raises:
        FileNotFoundError: There is none, or no folder.
        ValueError: There are two.
    """
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no {' or '.join(METADATA)}; write one line a picture, with file_name and text"
        )
    if len(found) > 1:
        raise ValueError(f"{folder}: both {' and '.join(METADATA)}; keep one of them")
    return found[0]


def read_picture_folder(folder: Path) -> tuple[CaptionedPicture, ...]:
    """Read which pictures a folder holds, and their captions; no picture is opened.

    Args:
        folder: With its metadata file.

    Raises:
        FileNotFoundError: There is no metadata file, or pictures are missing that it names.
        ValueError: It cannot be read, is empty, lacks a column or a caption, or names a file outside the folder.
    """
    metadata = find_metadata(folder)
    try:
        pictures = tuple(_picture(folder, metadata, *numbered) for numbered in _records(metadata))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{metadata}: cannot be read ({error}); save it as UTF-8 text") from error
    if not pictures:
        raise ValueError(f"{metadata}: names no picture; write one line a picture, with file_name and text")
    if missing := [str(one.path.relative_to(folder)) for one in pictures if not one.path.is_file()]:
        named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise FileNotFoundError(
            f"{metadata} names {len(missing)} of {len(pictures)} pictures that are not there: {named}; put them into "
            "the folder, or take out their lines"
        )
    return pictures


def load_pixels(pictures: Sequence[CaptionedPicture], resolution: int) -> NDArray[np.float32]:
    """Open pictures, turned as their EXIF says, on white where transparent, cut to the square in their middle.

    Args:
        pictures: N of them.
        resolution: Side in pixels.

    Returns:
        (N, 3, resolution, resolution) float32 in [-1, 1].

    Raises:
        ValueError: A file is no picture, cut off, or too large to open; names it.
    """
    pixels = np.stack([_opened(one.path, resolution) for one in pictures])
    return (pixels.transpose(0, 3, 1, 2) / np.float32(127.5) - 1).astype(np.float32)


def _opened(path: Path, resolution: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: not a picture that can be opened ({error}); replace it or take out its line"
        ) from error
    ground = Image.new("RGBA", turned.size, "white")
    whole = Image.alpha_composite(ground, turned).convert("RGB")
    return np.asarray(ImageOps.fit(whole, (resolution, resolution), Image.Resampling.LANCZOS))


def _records(metadata: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Line numbers and what the lines say."""
    with metadata.open(encoding="utf-8-sig", newline="") as file:
        if metadata.suffix == ".csv":
            reader = csv.DictReader(file)
            for record in reader:
                yield reader.line_num, record
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json_object(metadata, number, line)


def _json_object(metadata: Path, number: int, line: str) -> Mapping[str, object]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{metadata}, line {number}: no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(
            f"{metadata}, line {number}: is a {type(record).__name__}; a JSON object is expected"
        )
    return record


def _picture(folder: Path, metadata: Path, number: int, record: Mapping[str, object]) -> CaptionedPicture:
    where = f"{metadata}, line {number}"
    name, caption = record.get("file_name"), next((record[key] for key in CAPTIONS if record.get(key)), None)
    if not isinstance(name, str) or not name or not isinstance(caption, str) or not caption.strip():
        raise ValueError(
            f"{where}: file_name is {name!r}, {' or '.join(CAPTIONS)} {caption!r}; both must be text"
        )
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: {name!r} lies outside the folder; put the picture into it")
    return CaptionedPicture(path, " ".join(caption.split()))
