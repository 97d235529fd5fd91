"""Writing a library folder of a bundle, whole or not at all."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.errors import InvalidInputError, OutputError
from ragturbo_runtime.files import file_entry, replace_directory, sync_directory, sync_file
from ragturbo_runtime.index.cache import EXACT_BELOW
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.creation import create_library
from ragturbo_runtime.library.feature_rows import FeatureCodec, scale_of
from ragturbo_runtime.library.key_rows import KeyDtype
from ragturbo_runtime.library.layout import LOCK_FILE, Layout
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.writer import LibraryWriter
from ragturbo_runtime.manifest import LibraryPart
from ragturbo_runtime.spaces import Spaces

_INDEXED_FROM = 1_000
"""Bundles carry an index that is not needed yet, for hosts that add many pictures to a copy of their library."""


def write_library(
    directory: Path,
    items: Sequence[LibraryItem],
    keys: NDArray[Any],
    features: NDArray[Any],
    *,
    spaces: Spaces,
    codec: FeatureCodec = "int8",
) -> LibraryPart:
    """Write a library folder beside its place, sync it and put it there: the old one or the new one is seen.

    Args:
        directory: The folder, directly inside the bundle; an existing one is replaced.
        items: N pictures.
        keys: (N, E) float unit vectors: ``text_embeds`` of the captions.
        features: (N, T, C) float, ``h`` of the pictures; a memory map is read in blocks.
        spaces: The encoders that made keys and features: a bundle of other encoders refuses the library.
        codec: How the adapter's graph reads features.

    Returns:
        The manifest's ``library``: folder, count and the hash of every file.

    Raises:
        InvalidInputError: The numbers of items, keys and features differ, an id repeats, or a value is not
            finite.
        OutputError: The folder cannot be written; the old one is still in its place.
    """
    layout = _layout(items, keys, features, spaces, codec)
    _remove_abandoned(directory)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.partial")
    try:
        create_library(temporary, layout)
        with LibraryWriter(temporary) as writer:
            writer.add(items, keys, features)
            compact(writer, index_at_least=_INDEXED_FROM)
            # Readers of a bundle then make no files beside its own.
            writer.records.execute("PRAGMA journal_mode = DELETE")
        names = _sync(temporary)
        replace_directory(temporary, directory)
    except (OSError, sqlite3.Error) as exc:
        raise OutputError(
            f"{directory}: cannot be written ({exc})",
            path=directory,
            hint="choose a writable folder with room",
        ) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entries = tuple(file_entry(directory.parent, f"{directory.name}/{name}") for name in names)
    return LibraryPart(directory.name, len(items), layout.key_dtype, entries)


def key_dtype_for(count: int) -> KeyDtype:
    """Return how to store keys: where there are many, they are what fills memory."""
    return "float16" if count < EXACT_BELOW else "int8"


def _layout(
    items: Sequence[LibraryItem],
    keys: NDArray[Any],
    features: NDArray[Any],
    spaces: Spaces,
    codec: FeatureCodec,
) -> Layout:
    if keys.ndim != 2 or features.ndim != 3 or not len(items) == len(keys) == len(features) > 0:
        raise InvalidInputError(
            f"{len(items)} items, keys {keys.shape}, features {features.shape}: "
            "expected N > 0, (N, E), (N, T, C)",
            argument="items",
        )
    if not np.isfinite(keys).all() or not np.isfinite(features).all():
        raise InvalidInputError("keys or features hold NaN or infinity", argument="features")
    channels = features.shape[2]
    return Layout(
        generation=1,
        rows=0,
        indexed=0,
        version=0,
        embed_dim=keys.shape[1],
        tokens=features.shape[1],
        channels=channels,
        key_dtype=key_dtype_for(len(keys)),
        feature_codec=codec,
        scale=scale_of(features) if codec == "int8" else np.ones(channels, np.float32),
        spaces=spaces,
    )


def _remove_abandoned(directory: Path) -> None:
    """Delete what writers of this library left that were killed; there is one writer at a time."""
    for folder in directory.parent.glob(f".{directory.name}.????????.partial"):
        shutil.rmtree(folder, ignore_errors=True)


def _sync(directory: Path) -> list[str]:
    """Flush every file to the disk and return their names, forward slashes, in a stable order."""
    (directory / LOCK_FILE).unlink()
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in paths:
        sync_file(path)
    for folder in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        sync_directory(folder)
    return [path.relative_to(directory).as_posix() for path in paths]
