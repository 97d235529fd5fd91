"""One shard of pairs as a file: a WebDataset tar, and beside it the SHA-256 of its bytes.

`<name>.tar.sha256` is in `sha256sum`'s own form. It is written before the shard takes its name, so a shard without one
is from before there were any: it is read too, by what can be seen in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.atomic import save_atomically

Contents = tuple[tuple[str, ...], Tensor, Tensor, Tensor | None]
"""Prompts, seeds (B,) int64, latents (B, c, h, w) float32, and the found noise of the same shape or None."""


def checksum_path(path: Path) -> Path:
    """Name the file of a shard's checksum."""
    return path.with_name(f"{path.name}.sha256")


def write_shard(path: Path, first: int, contents: Contents) -> None:
    """Write a shard and its checksum, whole or not at all.

    Args:
        path: The shard's file.
        first: Number of its first pair.
        contents: What it holds.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """

    def write(beside: Path) -> None:
        data = _tar_of(first, contents)
        line = f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"
        beside.write_bytes(data)
        save_atomically(checksum_path(path), lambda other: other.write_text(line, encoding="utf-8"))

    save_atomically(path, write)


def read_shard(path: Path, first: int) -> Contents:
    """Read a shard; a single wrong bit is noticed where there is a checksum.

    Args:
        path: The shard's file.
        first: Number of the pair that it begins with.

    Raises:
        Exception: Whatever a damaged tar, array or record brings with it; the caller names the file.
    """
    data = path.read_bytes()
    _check(data, path)
    prompts, seeds, latents, noise = _contents_of(data, first)
    for kind, values in (("latents", latents), ("noise", noise)):
        if values is not None and not torch.isfinite(values).all():
            raise ValueError(f"its {kind} hold NaN or infinity")
    return prompts, seeds, latents, noise


def _check(data: bytes, path: Path) -> None:
    beside = checksum_path(path)
    if not beside.exists():
        return
    expected, found = beside.read_bytes().split(), hashlib.sha256(data).hexdigest()
    if [one.decode(errors="replace") for one in expected] != [found, path.name]:
        raise ValueError(f"its SHA-256 is {found}, and {beside.name} says otherwise")


def _tar_of(first: int, contents: Contents) -> bytes:
    prompts, seeds, latents, noise = contents
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, prompt in enumerate(prompts):
            key = f"{first + row:09d}"
            record = {"prompt": prompt, "seed": int(seeds[row])}
            _add(tar, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())
            _add(tar, f"{key}.latents.npy", _half_precision(latents[row]))
            if noise is not None:
                _add(tar, f"{key}.noise.npy", _half_precision(noise[row]))
    return whole.getvalue()


def _half_precision(tensor: Tensor) -> bytes:
    """A .npy file's bytes."""
    array = io.BytesIO()
    np.save(array, tensor.cpu().numpy().astype(np.float16))
    return array.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _contents_of(data: bytes, first: int) -> Contents:
    records, latents, noise = _members(data)
    if not records or sorted(records) != sorted(latents) or (noise and sorted(noise) != sorted(latents)):
        raise ValueError(
            f"{len(records)} records, {len(latents)} latents and {len(noise)} noises; one record and one of the others "
            "per pair is expected"
        )
    keys = sorted(records)
    if keys != [f"{first + row:09d}" for row in range(len(keys))]:
        raise ValueError(
            f"it holds the pairs {keys[0]} to {keys[-1]}; a shard of this number begins with {first:09d}"
        )
    return (
        tuple(str(records[key]["prompt"]) for key in keys),
        torch.tensor([int(records[key]["seed"]) for key in keys], dtype=torch.int64),
        torch.stack([latents[key] for key in keys]),
        torch.stack([noise[key] for key in keys]) if noise else None,
    )


def _members(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    parts: dict[str, dict[str, Any]] = {"json": {}, "latents.npy": {}, "noise.npy": {}}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                raise ValueError(f"member {member.name} is not a file")
            key, _, kind = member.name.partition(".")
            if kind in parts:
                parts[kind][key] = json.loads(file.read()) if kind == "json" else _array(file.read())
        if data[tar.offset :].strip(b"\0"):  # tarfile takes a header that it cannot read for the end
            raise ValueError(f"what follows byte {tar.offset} is no member")
    return parts["json"], parts["latents.npy"], parts["noise.npy"]


def _array(data: bytes) -> Tensor:
    return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32))
