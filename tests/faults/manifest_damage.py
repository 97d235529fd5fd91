"""Manifests that say what is not so, and texts that are no manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.case import Case, edit_manifest, put

_HUGE = 10**12
_FLIPPED = 40
_PATHS = (
    *(
        "",
        ".",
        "..",
        "/etc/hostname",
        "../outside",
        "a/../../b",
        "a\0b",
        "C:\\x",
        "a\\b",
        "a//b",
        "./a",
        "a/",
    ),
    *("\ud800", "~/x", "nothing", "x" * 5000),
)
_PLACES_OF_FILES = (("tokenizer",), ("graphs", "adapter"), ("graphs", "unet_decoder", "data"))
_REFUSED: tuple[tuple[tuple[Any, ...], Any], ...] = (
    (("schema_version",), 0),
    (("schema_version",), 2),
    (("schema_version",), "1"),
    (("schema_version",), 1.0),
    (("schema_version",), True),
    (("schema_version",), _HUGE),
    (("sdk",), ""),
    (("sdk",), "latest"),
    (("sdk",), ">=9"),
    (("sdk",), ">=" + "9" * 5000),
    (("sdk",), "<0.0.1"),
    (("sdk",), ">=0.1.0,"),
    (("latents", "height"), 7),
    (("latents", "height"), _HUGE),
    (("latents", "width"), 10**6),
    (("latents", "channels"), 10**9),
    (("latents", "scaling_factor"), "1"),
    (("picture", "height"), 0),
    (("picture", "height"), 33),
    (("picture", "width"), _HUGE),
    (("text", "context_length"), 10**10),
    (("text", "context_length"), 78),
    (("text", "embed_dim"), 25),
    (("text", "embed_dim"), _HUGE),
    (("text", "width"), 17),
    (("adapter", "channels"), _HUGE),
    (("adapter", "tokens"), _HUGE),
    (("adapter", "tokens"), 15),
    (("adapter", "default_references"), 17),
    (("adapter", "similarity_low"), 2),
    (("adapter", "feature_codec"), "float16"),
    (("adapter", "feature_codec"), "pickle"),
    (("adapter", "mode"), "magic"),
    (("scheduler", "num_train_timesteps"), 10**10),
    (("scheduler", "num_train_timesteps"), -1),
    (("scheduler", "beta_start"), "0"),
    (("scheduler", "beta_schedule"), "of mine"),
    (("scheduler", "prediction_type"), None),
    (("key_space_id",), "0" * 64),
    (("h_space_id",), "0" * 64),
    (("tokenizer", "sha256"), "0"),
    (("tokenizer", "bytes"), -1),
    (("tokenizer", "bytes"), 1.5),
    (("library", "count"), 31),
    (("library", "count"), _HUGE),
    (("library", "count"), 0),
    (("library", "directory"), "adapter"),
    (("library", "files"), {}),
    (("library", "files"), []),
    (("library",), {}),
    (("graphs",), {}),
    (("graphs", "adapter"), None),
    (("graphs", "adapter", "inputs"), []),
    (("graphs", "adapter", "outputs", 0, "dtype"), "float64"),
    (("graphs", "adapter", "inputs", 1, "dtype"), "float32"),
    (("graphs", "unet_encoder", "inputs", 0, "shape"), ["batch", 4, 8, 9]),
    (("graphs", "unet_encoder", "inputs", 0, "shape"), ["batch", 4, 8]),
    (("graphs", "unet_encoder", "outputs", 0, "shape", 1), _HUGE),
    (("graphs", "unet_encoder", "outputs", 0, "shape", 1), -32),
    (("graphs", "unet_encoder", "outputs", 0, "name"), "skip_0"),
    (("graphs", "vae_decoder", "outputs", 0, "name"), "pixels"),
    (("graphs", "vae_decoder", "outputs", 0, "shape", 1), 4),
    (("graphs", "vae_decoder", "inputs", 0, "dtype"), "float16"),
    (("graphs", "text_encoder", "file"), "vae_encoder/model.onnx"),
    (("graphs", "unet_decoder", "data"), None),
    (("graphs", "unet_decoder", "data"), "x"),
    (("graphs", "unet_decoder", "flavour"), "cuda-fp16"),
)


def manifest_cases(seed: int) -> Iterator[Case]:
    """Values, paths, texts, and changed bytes."""
    for keys, value in _REFUSED:
        shown = ".".join(map(str, keys))
        yield Case(f"manifest: {shown} is {str(value)[:30]}", partial(_set, keys, value), "always")
    for keys in _PLACES_OF_FILES:
        for path in _PATHS:
            shown = ".".join(keys)
            yield Case(
                f"manifest: {shown}.file is {path[:20]!r}", partial(_set, (*keys, "file"), path), "always"
            )
    for path in _PATHS:
        yield Case(
            f"manifest: library in {path[:20]!r}", partial(_set, ("library", "directory"), path), "always"
        )
        yield Case(f"manifest: library file {path[:20]!r}", partial(_add_file, path), "fast")
    yield Case(
        "manifest: any number of references", partial(_set, ("adapter", "max_references"), _HUGE), "harmless"
    )
    for name, change in _TEXTS.items():
        yield Case(f"manifest: {name}", partial(_write, change), "always")
    for number in range(_FLIPPED):
        damage = partial(_flip, [seed, number])
        yield Case(f"manifest: bytes changed, {number}", damage, "harmless", draws_another=True)


def _set(keys: tuple[Any, ...], value: object, bundle: Path) -> None:
    def edit(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    edit_manifest(bundle, edit)


def _add_file(path: str, bundle: Path) -> None:
    def edit(document: Any) -> None:
        document["library"]["files"][path] = {"sha256": "0" * 64, "bytes": 10**15}

    edit_manifest(bundle, edit)


def _write(change: Callable[[bytes], bytes], bundle: Path) -> None:
    path = bundle / "manifest.json"
    put(path, change(path.read_bytes()))


def _nested(depth: int, data: bytes) -> bytes:
    return b'{"schema_version": 1, "x": ' + b"[" * depth + b"]" * depth + b"}"


_TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "twice": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "Latin-1": lambda data: data.replace(b"nano", b"nan\xe9"),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "a list": lambda data: b"[" + data + b"]",
    "a number of 10,000 digits": lambda data: data.replace(b'_version": 1', b'_version": ' + b"1" * 10_000),
    "100,000 lists in each other": partial(_nested, 100_000),
    "2,000 lists in each other": partial(_nested, 2_000),
    "a key twice": lambda data: data.replace(b'"name": "nano"', b'"name": "nano", "name": "nano"', 1),
    "a graph twice": lambda data: data.replace(
        b'"adapter": {\n   "file"', b'"adapter": {}, "adapter": {"file"'
    ),
    "NaN": lambda data: data.replace(b'"similarity_low": 0.0', b'"similarity_low": NaN'),
    "NaN where nothing is read": lambda data: data.replace(b"{", b'{"x": NaN,', 1),
    "infinity": lambda data: data.replace(b'"chain_psnr_db": null', b'"chain_psnr_db": Infinity'),
    "1e999": lambda data: data.replace(b'"similarity_high": 1.0', b'"similarity_high": 1e999'),
    "20 MB of spaces": lambda data: data + b" " * 20_000_000,
    "a pickle": lambda data: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


def _flip(seed: list[int], bundle: Path) -> None:
    """Change one to three bytes; half of them digits, which stay digits and are no error to JSON."""
    random, path = np.random.default_rng(seed), bundle / "manifest.json"
    data = bytearray(path.read_bytes())
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    for _ in range(int(random.integers(1, 4))):
        if random.integers(2):
            place = digits[random.integers(len(digits))]
            data[place] = ord("0") + (data[place] - ord("0") + int(random.integers(1, 10))) % 10
        else:
            data[random.integers(len(data))] ^= int(random.integers(1, 256))
    put(path, bytes(data))
