"""Small libraries for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.library.creation import create_library
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.spaces import Spaces

SPACES = Spaces("1" * 64, "2" * 64)
EMBED, TOKENS, CHANNELS = 16, 4, 16


def empty(folder: Path, *, key_dtype: Any = "int8", codec: Any = "int8") -> Path:
    scale = np.full(CHANNELS, 0.05, np.float32) if codec == "int8" else np.ones(CHANNELS, np.float32)
    create_library(folder, Layout(1, 0, 0, 0, EMBED, TOKENS, CHANNELS, key_dtype, codec, scale, SPACES))
    return folder


def pictures(numbers: range) -> tuple[list[LibraryItem], Any, Any]:
    """Pictures whose texts, keys and features follow from their numbers."""
    items = [
        LibraryItem(f"p{n}", f"picture {n}", f"png {n}".encode() * 20, "here", "CC0-1.0") for n in numbers
    ]
    return items, np.stack([key_of(n) for n in numbers]), np.stack([features_of(n) for n in numbers])


def key_of(number: int) -> Any:
    key = np.random.default_rng(number).standard_normal(EMBED).astype(np.float32)
    return key / np.linalg.norm(key)


def features_of(number: int) -> Any:
    return np.random.default_rng(10**6 + number).uniform(-6, 6, (TOKENS, CHANNELS)).astype(np.float32)
