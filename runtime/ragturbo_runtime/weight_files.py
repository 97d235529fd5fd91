"""Where a graph takes its weights from, read off the ONNX file itself.

A tensor of a graph may lie in another file, under a path that the graph says. ONNX Runtime 1.22 follows it out of the
folder, 1.32 refuses that, and neither asks the manifest. This reads protobuf's wire format
(https://protobuf.dev/programming-guides/encoding) as far as those paths, and skips the weights.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ragturbo_runtime.errors import BundleCorruptError

_LEADS_ON = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
}
"""Of each message of onnx.proto: the fields, by number, in which a path may be."""
_DEEPEST = 64
_HINT = "download or export the bundle again"


class WireError(ValueError):
    """The bytes are no protobuf message."""


def require_weights(path: Path, weights: Path | None, *, name: str) -> None:
    """Refuse a graph that takes weights from any file but the one that the manifest names.

    Args:
        path: The ONNX file. A missing one passes: ONNX Runtime says so.
        weights: The file of the manifest; None: the graph must hold its weights itself.
        name: The graph's path in the bundle, for messages.

    Raises:
        BundleCorruptError: It names another file, or is no ONNX file.
    """
    try:
        found = locations(path)
    except OSError:
        return
    except ValueError as exc:  # also of mmap, for an empty file
        raise BundleCorruptError(
            f"{name}: not a graph that ONNX Runtime can load ({exc})", path=path, hint=_HINT
        ) from exc
    allowed = set() if weights is None else {weights}
    for location in sorted(found):
        if "\0" in location or (path.parent / location).resolve() not in allowed:
            raise BundleCorruptError(
                f"{name}: takes weights from {location[:60]!r}, the manifest names "
                f"{'none' if weights is None else weights.name}",
                path=path,
                hint=_HINT,
            )


def locations(path: Path) -> set[str]:
    """Return the paths of the files that a graph takes weights from, as it says them.

    Args:
        path: The ONNX file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is empty, or no protobuf message.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_locations(data, 0, len(data), "model", 0))


def _locations(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise WireError("nested too deep")
    if kind == "entry":
        pair = [(number, data[a:b]) for number, a, b in _fields(data, start, end)]
        if (1, b"location") in pair:  # one that says it twice is read differently by different readers
            yield from (value.decode("utf-8", "replace") for number, value in pair if number == 2)
        return
    inner_kinds = _LEADS_ON[kind]
    for number, first, last in _fields(data, start, end):
        if (inner := inner_kinds.get(number)) is not None:
            if inner in ("node", "attribute") and data.find(b"location", first, last) < 0:
                continue  # most of a graph
            yield from _locations(data, first, last, inner, depth + 1)


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number and bytes, from and to, of each field that has a length; the others are skipped."""
    while place < end:
        tag, place = _varint(data, place, end)
        wire, length = tag & 7, 0
        if wire == 0:
            _, place = _varint(data, place, end)
        elif wire == 2:
            length, place = _varint(data, place, end)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise WireError(f"wire type {wire}")
        if place + length > end:
            raise WireError("a field is longer than its message")
        if wire == 2:
            yield tag >> 3, place, place + length
        place += length


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 64:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise WireError("a number without end")
