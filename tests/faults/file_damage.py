"""What happens to files: bits flip, ends are missing, others stand in their place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from tests.faults.case import Case, put
from tests.faults.small_bundle import DATA, RECORDS

GRAPHS = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder", "vae_encoder")
ARRAYS = (DATA, "library/keys-000001.f16", "library/features-000001.i8")
"""Nothing but numbers: any bytes of that length can be read."""
FILES = (*(f"{graph}/model.onnx" for graph in GRAPHS), *ARRAYS, RECORDS, "tokenizer.json")
_FLIPPED = 24
"""Cases of each file."""


def file_cases(seed: int) -> Iterator[Case]:
    """Every kind of damage to every file."""
    for number, file in enumerate(FILES):
        for case in range(_FLIPPED):
            damage = partial(flip, file, [seed, number, case])
            yield Case(f"{file}: bytes changed, {case}", damage, "full", draws_another=True)
        for share in (0.0, 0.01, 0.5, 0.99):
            damage = partial(change, file, partial(_cut, share))
            yield Case(f"{file}: cut to {share}", damage, "fast", draws_another=True)
        for name, new in _CHANGES.items():
            yield Case(f"{file}: {name}", partial(change, file, new), "fast", draws_another=True)
        for name, replace in _PLACES.items():
            damage = partial(_put_in_place, file, replace)
            yield Case(f"{file}: {name}", damage, "fast")
    for name, replace in _PLACES.items():
        yield Case(f"manifest.json: {name}", partial(_put_in_place, "manifest.json", replace), "always")
    yield from _swapped()


def _swapped() -> Iterator[Case]:
    for first in FILES:
        for second in FILES:
            if first < second:
                damage = partial(_swap, first, second)
                yield Case(f"{first} and {second} swapped", damage, "fast", draws_another=first in ARRAYS)


def flip(file: str, seed: list[int], bundle: Path) -> None:
    """Change one to eight bytes, near each other or anywhere."""
    random, data = np.random.default_rng(seed), bytearray((bundle / file).read_bytes())
    start = int(random.integers(len(data)))
    near = bool(random.integers(2))
    for _ in range(int(random.integers(1, 9))):
        place = start + int(random.integers(16)) if near else int(random.integers(len(data)))
        data[place % len(data)] ^= int(random.integers(1, 256))
    data[start] ^= 1 << int(random.integers(8))
    if data == (bundle / file).read_bytes():
        data[start] ^= 1
    put(bundle / file, bytes(data))


def _cut(share: float, data: bytes) -> bytes:
    return data[: int(len(data) * share)]


def change(file: str, new: Callable[[bytes], bytes], bundle: Path) -> None:
    put(bundle / file, new((bundle / file).read_bytes()))


_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "grown by zeros": lambda data: data + bytes(4096),
    "grown by itself": lambda data: data + data,
    "first byte lost": lambda data: data[1:],
    "last byte lost": lambda data: data[:-1],
    "a picture": lambda data: b"\x89PNG\r\n\x1a\n" + bytes(200),
    "a text": lambda data: b"version https://git-lfs.github.com/spec/v1\n" * 3,
    "JSON": lambda data: b'{"a": [1, 2, {"b": null}]}',
    "all of one value": lambda data: b"\xff" * (len(data) + 8),
}


def _put_in_place(file: str, replace: Callable[[Path, Path], object], bundle: Path) -> None:
    path = bundle / file
    moved = bundle.parent / f"{bundle.name}-moved"
    os.rename(path, moved)
    replace(path, moved)


_PLACES: dict[str, Callable[[Path, Path], object]] = {
    "deleted": lambda path, moved: None,
    "a folder": lambda path, moved: path.mkdir(),
    "a link out of the bundle": lambda path, moved: path.symlink_to(moved),
    "a link to itself": lambda path, moved: path.symlink_to(path),
    "a link to nothing": lambda path, moved: path.symlink_to("nothing"),
    "a link to a device": lambda path, moved: path.symlink_to("/dev/zero"),
    "a link to the folder": lambda path, moved: path.symlink_to(path.parent),
    "a pipe": lambda path, moved: os.mkfifo(path),
}


def _swap(first: str, second: str, bundle: Path) -> None:
    one, two = (bundle / first).read_bytes(), (bundle / second).read_bytes()
    put(bundle / first, two)
    put(bundle / second, one)
