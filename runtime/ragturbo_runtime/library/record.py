"""What is known of a reference, and how one was used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LibraryItem:
    """One picture to be written.

    Attributes:
        id: A stable name, unique in the library.
        caption: What the picture shows; its key is this text's.
        thumbnail: A PNG file's bytes.
        source: Where it comes from.
        licence: Under which licence.
    """

    id: str
    caption: str
    thumbnail: bytes
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Record:
    """What is known about one reference picture.

    Attributes:
        row: Where its numbers are in the library's files. Compacting a library changes it; ``id`` stays.
        id: Its stable name.
        caption: What it shows; its key is this text's.
        source: Where it comes from.
        licence: Under which licence.
    """

    row: int
    id: str
    caption: str
    source: str
    licence: str


@dataclass(frozen=True)
class Reference:
    """A reference as it was used for one picture.

    Attributes:
        id: Its stable name in the library.
        row: Where its numbers are in the library's files.
        caption: What it shows.
        similarity: Cosine to the query that found it, in [-1, 1].
        weight: lambda in [0, 1]; 0 means that it changed nothing.
        source: Where the picture comes from.
        licence: Its licence.
    """

    id: str
    row: int
    caption: str
    similarity: float
    weight: float
    source: str
    licence: str
    _thumbnail: Callable[[str], bytes] = field(repr=False, compare=False)

    def thumbnail(self) -> bytes:
        """Return the reference picture.

        Returns:
            A PNG file's bytes.

        Raises:
            RetrievalError: The library was closed or cannot be read, or the reference was removed meanwhile.
        """
        return self._thumbnail(self.id)
