"""Which encoders a library's numbers come from, as the library itself says.

Keys of two text encoders, or features of two U-Nets, have the same shape and no common meaning: a library that
was taken from another bundle would open, be searched, and give wrong pictures without a word. So it carries the
identity of its encoders, in its records, and a bundle opens only the library that was made for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ragturbo_runtime.errors import RetrievalError

_SHOWN = 12
"""Hexadecimal digits of an id in a message; two ids never agree in so many by chance."""
_UNKNOWN = "key space unknown, h space unknown"


@dataclass(frozen=True)
class Spaces:
    """Hashes of the encoders, as in the manifest.

    Attributes:
        key_space_id: Of the text encoder that made the keys.
        h_space_id: Of what made the features: the U-Net's encoder, and at which timestep and with which text.
    """

    key_space_id: str
    h_space_id: str

    def __str__(self) -> str:
        """Return the start of both, for messages."""
        return f"key space {self.key_space_id[:_SHOWN]}, h space {self.h_space_id[:_SHOWN]}"


def require_spaces(found: Spaces | None, expected: Spaces, library: Path) -> None:
    """Refuse a library that was made for another bundle, or that does not say for which.

    Args:
        found: What the library says.
        expected: What the bundle's manifest says.
        library: The library's folder, for the message.

    Raises:
        RetrievalError: The two differ in either id.
    """
    if found != expected:
        raise RetrievalError(
            f"{library}: its keys and features are of {found or _UNKNOWN}, this bundle's are of {expected}",
            hint="build the library again for this bundle, with python -m export.onnx",
        )
