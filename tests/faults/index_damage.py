"""Indexes of ScaNN and of faiss in which bytes have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ragturbo_runtime.index.kinds import INDEX_KINDS
from ragturbo_runtime.library.key_rows import encode_keys
from ragturbo_runtime.library.layout import Layout
from tests.faults.case import Case, remove
from tests.faults.file_damage import change, flip

COUNT, WIDTH = 600, 16
LAYOUT = Layout(1, COUNT, COUNT, 0, WIDTH, 1, 1, "int8", "int8", np.ones(1, np.float32), None)
_FLIPPED = 10
_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "grown": lambda data: data + bytes(100),
    "all ones": lambda data: b"\xff" * len(data),
    "all zeros": lambda data: bytes(len(data)),
    "nested": lambda data: b"[" * 100_000,
}


def directions() -> Any:
    """(COUNT, WIDTH) float32 of length 1."""
    values = np.random.default_rng(0).standard_normal((COUNT, WIDTH)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def stored() -> Any:
    """The same as a library stores them."""
    return encode_keys(directions(), "int8")


def index_cases(libraries: Path, seed: int) -> Iterator[tuple[str, Case]]:
    """Kind and damage: every kind of damage to every file of every index that is there.

    Args:
        libraries: A folder with one library's folder per kind.
        seed: Decides which bytes change.
    """
    for kind in INDEX_KINDS:
        for number, path in enumerate(sorted((libraries / kind).glob("*/*"))):
            file = f"{LAYOUT.index_folder}/{path.name}"
            for count in range(_FLIPPED):
                damage = partial(flip, file, [seed, number, count])
                yield kind, Case(f"{kind}: {path.name}: bytes changed, {count}", damage, "always")
            for name, new in _CHANGES.items():
                yield kind, Case(f"{kind}: {path.name}: {name}", partial(change, file, new), "always")
            yield kind, Case(f"{kind}: {path.name}: deleted", partial(_delete, file), "always")
        if (libraries / kind).exists():
            yield kind, Case(f"{kind}: a file more", _add_ids, "always")


def _delete(file: str, folder: Path) -> None:
    remove(folder / file)


def _add_ids(folder: Path) -> None:
    (folder / LAYOUT.index_folder / "scann_docids.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
