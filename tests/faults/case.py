"""What a damaged bundle is, and when its damage must be told."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragturbo_runtime.manifest_text import checksum

Told = Literal["always", "fast", "full", "harmless", "nothing"]


@dataclass(frozen=True)
class Case:
    """One bundle that somebody has damaged.

    Attributes:
        name: What was done to what.
        damage: Does it, to a bundle of hard links: a file is replaced, never written into.
        told: The least that refuses it: ``"always"`` any way of loading, ``"fast"`` a comparison of sizes, ``"full"``
            one of hashes; ``"harmless"`` is refused, or draws what the whole bundle draws; of ``"nothing"`` no check
            can know, since the hashes are those of the damage.
        draws_another: Whether what is loaded without that comparison may draw another picture: its numbers are
            others, and nothing but a hash tells.
    """

    name: str
    damage: Callable[[Path], None]
    told: Told
    draws_another: bool = False


def put(path: Path, data: bytes) -> None:
    """Put a file in the place of whatever is there."""
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def edit_manifest(bundle: Path, edit: Callable[[Any], object]) -> None:
    """Change the manifest as a tool would: its own checksum fits."""
    path = bundle / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    document["checksum"] = checksum(document)
    put(path, json.dumps(document).encode())
