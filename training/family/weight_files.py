"""Which files hold the weights of a diffusers model: one, several shards, or a variant such as fp16.

diffusers writes ``diffusion_pytorch_model[.VARIANT].safetensors``, or shards that
``diffusion_pytorch_model.safetensors.index[.VARIANT].json`` lists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ragturbo_runtime.files import hash_file

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_STEM, _SUFFIX = DIFFUSERS_WEIGHTS.split(".")
_INDEX = f"{DIFFUSERS_WEIGHTS}.index"


@dataclass(frozen=True)
class WeightFiles:
    """The files of one model."""

    variant: str | None
    """As diffusers names it, "fp16" for instance; None: plain names."""
    paths: tuple[Path, ...]
    """One file, or all shards in the order of their names."""

    @property
    def sha256(self) -> str:
        """Of the file, hex; of shards: of their names and hashes."""
        if len(self.paths) == 1:
            return hash_file(self.paths[0])
        shards = {path.name: hash_file(path) for path in self.paths}
        return hashlib.sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()


def find_weights(folder: Path) -> WeightFiles:
    """Find a model's weights: plain names first, else its only variant.

    Args:
        folder: A model's folder in the diffusers layout.

    Raises:
        FileNotFoundError: There are none as safetensors, or a shard is missing.
        ValueError: There are only variants, and more than one; or an index cannot be read.
    """
    found = _variants(folder)
    if not found:
        raise FileNotFoundError(
            f"{folder}: no weights; expected {DIFFUSERS_WEIGHTS}, its shards with {_INDEX}.json, or a variant such as "
            f"{_STEM}.fp16.{_SUFFIX}"
        )
    if None not in found and len(found) > 1:
        names = ", ".join(sorted(str(name) for name in found))
        raise ValueError(
            f"{folder}: weights of several variants ({names}) and no plain ones; keep one of them"
        )
    variant = None if None in found else next(iter(found))
    path = found[variant]
    return WeightFiles(variant, (path,) if path.suffix == f".{_SUFFIX}" else _shards(path))


def _variants(folder: Path) -> dict[str | None, Path]:
    """Variant -> its file or its index; a whole file goes before shards."""
    found: dict[str | None, Path] = {}
    for path in sorted(folder.glob(f"{_INDEX}*.json")) + sorted(folder.glob(f"{_STEM}*.{_SUFFIX}")):
        middle = path.name.removeprefix(_INDEX if path.suffix == ".json" else _STEM)
        variant = middle.removesuffix(path.suffix).removeprefix(".")
        if "-of-" not in variant and "." not in variant:
            found[variant or None] = path
    return found


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{index}: not an index of shards ({error!r}); copy the folder again") from error
    outside = [name for name in names if Path(name).name != name]
    if outside or not names:
        raise ValueError(f"{index}: names {outside or 'no shards'}; expected names of files beside it")
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{index.parent / missing[0]} is missing, one of {len(names)} shards that {index.name} lists "
            f"({len(missing)} are missing); copy the folder again"
        )
    return tuple(index.parent / name for name in names)
