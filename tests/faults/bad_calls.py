"""Calls with arguments that are wrong, on an open generator that may change its library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ragturbo_sdk import Generator
from tests.faults.bad_values import (
    HUGE,
    NO_FOLDERS,
    NO_NUMBERS,
    NO_PROMPTS,
    STRANGE_PROMPTS,
    Rude,
    whole_numbers,
)

Call = Callable[[Generator], object]
_WHOLE = ("seed", "num_images", "references", "num_inference_steps")
_NO_FLAGS = {
    "None": None,
    "1": 1,
    "a text": "True",
    "an array": np.array([True, False]),
    "what raises": Rude(),
}
_NO_PICTURES: dict[str, Any] = {
    "None": None,
    "a number": 7,
    "no bytes": b"",
    "bytes of something": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a file that is missing": Path("no-such-file.png"),
    "a folder": Path("/"),
    "a device": Path("/dev/null"),
    "an array": np.zeros((8, 8, 3), np.uint8),
    "a picture without pixels": Image.new("RGB", (0, 0)),
    "what raises": Rude(),
}


def refused_calls() -> Iterator[tuple[str, Call]]:
    """Name and call; each must raise an error of ours."""
    for name, value in NO_PROMPTS.items():
        yield f"generate: prompt is {name}", partial(_generate, {"prompt": value})
    for argument in _WHOLE:
        for name, value in whole_numbers():
            yield f"generate: {argument} is {name}", partial(_generate, {argument: value})
    for name, value in NO_NUMBERS.items():
        yield f"generate: strength is {name}", partial(_generate, {"strength": value})
    for name, value in _NO_FLAGS.items():
        yield f"generate: retrieval is {name}", partial(_generate, {"retrieval": value})
    for name, value in whole_numbers():
        yield f"warmup: num_images is {name}", partial(_warm_up, value)
        yield f"search: count is {name}", partial(_search, "a cat", value)
    yield from _library_calls()


def _library_calls() -> Iterator[tuple[str, Call]]:
    for name, picture in _NO_PICTURES.items():
        yield f"search: query is {name}", partial(_search, picture, 3)
        yield f"add: image is {name}", partial(_add, picture, "a cat", {})
    picture = Image.new("RGB", (8, 8))
    for name, value in NO_PROMPTS.items():
        if name not in ("a million prompts", "66 prompts"):
            yield f"add: caption is {name}", partial(_add, picture, value, {})
    for argument in ("id", "source", "licence"):
        for name, value in {
            "a number": 7,
            "bytes": b"x",
            "a surrogate": "\ud800",
            "what raises": Rude(),
        }.items():
            yield f"add: {argument} is {name}", partial(_add, picture, "a cat", {argument: value})
    for name, value in {
        "a number": 7,
        "nothing": [],
        "bytes": b"x",
        "no name": "no such id",
        "huge": HUGE,
    }.items():
        yield f"remove: {name}", partial(_remove, value)
    for name, value in NO_FOLDERS.items():
        yield f"add_folder: {name}", partial(_add_folder, value)
        if name not in ("nobody's home", "nothing there"):  # can be made
            yield f"copy: {name}", partial(_copy, value)


def strange_calls() -> Iterator[tuple[str, Call]]:
    """Name and call; each draws, finds, or raises an error of ours."""
    for name, value in STRANGE_PROMPTS.items():
        yield f"generate: {name}", partial(_generate, {"prompt": value})
        if isinstance(value, str):
            yield f"search: {name}", partial(_search, value, 3)


def _generate(arguments: dict[str, Any], generator: Generator) -> object:
    return generator.generate(**{"prompt": "a cat", **arguments})


def _warm_up(value: Any, generator: Generator) -> object:
    return generator.warmup(num_images=value)


def _search(query: Any, count: Any, generator: Generator) -> object:
    return generator.library.search(query, count=count)


def _add(image: Any, caption: Any, arguments: dict[str, Any], generator: Generator) -> object:
    return generator.library.add(image, caption, **arguments)


def _remove(ids: Any, generator: Generator) -> object:
    return generator.library.remove(ids)


def _add_folder(folder: Any, generator: Generator) -> object:
    return generator.library.add_folder(folder)


def _copy(folder: Any, generator: Generator) -> object:
    return generator.library.copy(folder)


def refused_openings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and arguments of ``Generator``; each must raise an error of ours."""
    for argument in ("bundle", "library"):
        for name, value in NO_FOLDERS.items():
            yield f"{argument} is {name}", {argument: value}
    for argument in ("threads", "memory_limit"):
        for name, value in whole_numbers():
            yield f"{argument} is {name}", {argument: value}
    for argument in ("spinning", "cuda_graphs"):
        for name, value in _NO_FLAGS.items():
            yield f"{argument} is {name}", {argument: value}
    for device in (
        None,
        7,
        "",
        "CPU",
        "gpu",
        "cuda:",
        "cuda:-1",
        "cuda:x",
        "cuda:1e3",
        b"cpu",
        ["cpu"],
        "cpu\n",
        Rude(),
    ):
        yield (
            f"device is {type(device).__name__} {device if isinstance(device, str) else ''!r}",
            {"device": device},
        )
    for verify in (
        None,
        True,
        7,
        "",
        "FULL",
        "sometimes",
        b"full",
        ["full"],
        np.array(["full", "off"]),
        Rude(),
    ):
        yield (
            f"verify is {type(verify).__name__} {str(verify)[:9] if isinstance(verify, str) else ''}",
            {"verify": verify},
        )
    yield "progress is no function", {"progress": 7}
