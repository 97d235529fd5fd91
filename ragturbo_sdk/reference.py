"""A reference as a host sees it: a plain value that outlives the generator."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, PngImagePlugin

from ragturbo_runtime.library import record
from ragturbo_runtime.library.opened import StaleViewError
from ragturbo_sdk.errors import RetrievalError

_MOST_PIXELS = 1 << 24
"""Of a thumbnail; libraries hold some ten thousand, and a few bytes of PNG can claim any number."""


@dataclass(frozen=True)
class Reference:
    """A captioned picture that was looked up for a prompt."""

    id: str
    """Its stable name in the library."""
    caption: str
    similarity: float
    """Cosine between the caption's key and the query that found it, -1 to 1."""
    weight: float
    """How much it counted, 0 to 1; 0 means that it changed nothing."""
    source: str
    """Where the picture comes from."""
    licence: str
    thumbnail_png: bytes = field(repr=False)
    """The picture as the bytes of a PNG file; empty if it was removed from the library meanwhile."""

    def thumbnail(self) -> Image.Image:
        """Decode the reference picture.

        Returns:
            An RGB picture.

        Raises:
            RetrievalError: The library holds no picture in its place, or the reference was removed meanwhile.
        """
        if not self.thumbnail_png:
            raise RetrievalError(
                f"reference {self.id!r}: was removed from the library while it was used",
                hint="go on without its picture",
            )
        try:
            with PngImagePlugin.PngImageFile(io.BytesIO(self.thumbnail_png)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(
                        f"{image.width} x {image.height} pixels, expected at most {_MOST_PIXELS}"
                    )
                return image.convert("RGB")
        except Exception as error:  # of a damaged file Pillow's decoders raise what comes
            message = f"reference {self.id!r}: its picture cannot be read ({error})"
            raise RetrievalError(message, hint="download or export the bundle again") from error

    def metadata(self) -> dict[str, Any]:
        """All but the picture, as JSON values."""
        return {
            "id": self.id,
            "caption": self.caption,
            "similarity": round(self.similarity, 6),
            "weight": round(self.weight, 6),
            "source": self.source,
            "licence": self.licence,
        }


def keep(used: record.Reference) -> Reference:
    """Take a reference out of the library, so that it needs it no more.

    Args:
        used: As the pipeline returned it.

    Returns:
        The same with its picture.

    Raises:
        RetrievalError: The library cannot be read.
    """
    return Reference(
        id=used.id,
        caption=used.caption,
        similarity=used.similarity,
        weight=used.weight,
        source=used.source,
        licence=used.licence,
        thumbnail_png=_thumbnail(used),
    )


def _thumbnail(used: record.Reference) -> bytes:
    try:
        return used.thumbnail()
    except StaleViewError:  # somebody removed it; the picture that used it is drawn
        return b""
