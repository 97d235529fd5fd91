"""What a collection holds: pictures that can be used, and what cannot, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ragturbo_runtime.arrays import Pixels
from ragturbo_runtime.errors import InvalidInputError


class PictureError(InvalidInputError):
    """One picture cannot be used; the others of its collection can."""

    def __init__(self, message: str, *, argument: str = "picture", hint: str | None = None) -> None:
        """Keep the reason."""
        super().__init__(message, argument=argument, hint=hint)


@dataclass(frozen=True)
class Entry:
    """One captioned picture, not yet read.

    Attributes:
        id: A stable name, unique in the collection.
        caption: What it shows.
        source: Where it comes from, or "".
        licence: Under which licence; "unknown" if nobody said.
        read: Takes a side in pixels and returns (side, side, 3) uint8, sRGB: the picture's middle square. It may be
            called from any thread, and raises `PictureError` if the picture cannot be read.
    """

    id: str
    caption: str
    source: str
    licence: str
    read: Callable[[int], Pixels] = field(repr=False, compare=False)


@dataclass(frozen=True)
class SkippedPicture:
    """Something in a collection that cannot be used.

    Attributes:
        name: Where it is, or its id; fit to be printed.
        reason: Why it cannot be used.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {self.reason}"


def printable(text: str) -> str:
    """Escape what a terminal or a log would obey or refuse: names in a collection are somebody else's."""
    return text if text.isprintable() else repr(text)[1:-1]
