"""What a library's folder holds, as its records say: which files, how many rows, of which shape, by which encoders.

Everything that must change together is in ``records.sqlite``, in one transaction: a reader sees the library before a
change or after it, and a writer that is killed leaves rows behind that nobody counts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ragturbo_runtime.arrays import Scale
from ragturbo_runtime.library.feature_rows import FEATURE_CODECS, FeatureCodec, feature_row
from ragturbo_runtime.library.key_rows import KEY_DTYPES, KeyDtype, key_row
from ragturbo_runtime.spaces import Spaces

FORMAT = 2
"""Of the folder. Format 1, which records did not name yet, came inside the bundles of the first ragturbo-sdk 0.1.0."""
RECORDS_FILE = "records.sqlite"
LOCK_FILE = "writer.lock"


class OtherFormatError(ValueError):
    """The folder is of another format, and nothing in it is damaged.

    Attributes:
        hint: The way out.
    """

    def __init__(self, found: int, *, hint: str) -> None:
        """Say what was found and what is read."""
        super().__init__(f"the library's format is {found}, this version of ragturbo reads {FORMAT}")
        self.hint = hint


@dataclass(frozen=True)
class Layout:
    """One state of a library.

    Attributes:
        generation: Rises when rows get other numbers; files of an older one are of no use.
        rows: Rows in the files, those of removed pictures included.
        indexed: Rows that are in an index: the first ones; 0 without one.
        version: Rises with every change.
        embed_dim: E of the keys.
        tokens: T of the features.
        channels: C of the features.
        key_dtype: How keys are stored.
        feature_codec: How features are stored.
        scale: (C,) float32, what stored features are to be multiplied by.
        spaces: The encoders that keys and features come from; None if the records do not say.
    """

    generation: int
    rows: int
    indexed: int
    version: int
    embed_dim: int
    tokens: int
    channels: int
    key_dtype: KeyDtype
    feature_codec: FeatureCodec
    scale: Scale
    spaces: Spaces | None

    @property
    def key_row(self) -> np.dtype[Any]:
        """One row of the keys' file."""
        return key_row(self.key_dtype, self.embed_dim)

    @property
    def feature_row(self) -> np.dtype[Any]:
        """One row of the features' file."""
        return feature_row(self.feature_codec, self.tokens, self.channels)

    @property
    def files(self) -> tuple[int, int]:
        """What names the files: the generation, and the rows of the index."""
        return self.generation, self.indexed

    @property
    def index_folder(self) -> str:
        """Name of the index's folder: other rows, other name."""
        return f"index-{self.generation:06d}-{self.indexed}"

    @property
    def keys_file(self) -> str:
        """Name of the keys' file."""
        suffix = "f16" if self.key_dtype == "float16" else "i8"
        return f"keys-{self.generation:06d}.{suffix}"

    @property
    def features_file(self) -> str:
        """Name of the features' file."""
        suffix = "f16" if self.feature_codec == "float16" else "i8"
        return f"features-{self.generation:06d}.{suffix}"


def layout_from_meta(meta: dict[str, str | bytes]) -> Layout:
    """Read a layout.

    Args:
        meta: The table of that name.

    Returns:
        The layout.

    Raises:
        OtherFormatError: Another version wrote it.
        ValueError: Something is missing or out of range; says what.
    """
    _check_format(meta)
    generation, rows, indexed, version = numbers_from_meta(meta)
    layout = Layout(
        generation=generation,
        rows=rows,
        indexed=indexed,
        version=version,
        embed_dim=_number(meta, "embed_dim", 1, 1 << 16),
        tokens=_number(meta, "tokens", 1, 1 << 16),
        channels=_number(meta, "channels", 1, 1 << 16),
        key_dtype=_choice(meta, "key_dtype", KEY_DTYPES),
        feature_codec=_choice(meta, "feature_codec", FEATURE_CODECS),
        scale=_scale(meta),
        spaces=_spaces(meta),
    )
    if len(layout.scale) != layout.channels:
        raise ValueError(f"scale has {len(layout.scale)} numbers, expected {layout.channels}")
    return layout


CHANGING = ("generation", "rows", "indexed", "version")
"""What can change while a library is open; the rest changes with the generation alone."""


def numbers_from_meta(meta: dict[str, str | bytes]) -> tuple[int, int, int, int]:
    """Read `CHANGING`.

    Raises:
        ValueError: Something is missing or out of range; says what.
    """
    generation, rows, indexed, version = (_number(meta, name, 0) for name in CHANGING)
    if indexed > rows:
        raise ValueError(f"indexed is {indexed}, expected at most rows ({rows})")
    return generation, rows, indexed, version


def layout_to_meta(layout: Layout) -> dict[str, str | bytes]:
    """Write a layout as the table of that name holds it."""
    names = (*CHANGING, "embed_dim", "tokens", "channels", "key_dtype", "feature_codec")
    texts = {name: str(getattr(layout, name)) for name in names}
    spaces = {} if layout.spaces is None else asdict(layout.spaces)
    return {"format": str(FORMAT), **texts, **spaces, "scale": layout.scale.astype("<f4").tobytes()}


def _check_format(meta: dict[str, str | bytes]) -> None:
    if not {"format", *CHANGING} & meta.keys():
        hint = "build it again from its pictures (ragturbo library build); one of a bundle comes with a newer bundle"
        raise OtherFormatError(1, hint=hint)
    found = _number(meta, "format", FORMAT, 1 << 16)
    if found > FORMAT:
        raise OtherFormatError(found, hint="upgrade ragturbo-sdk")


def _number(meta: dict[str, str | bytes], name: str, low: int, high: int = 1 << 40) -> int:
    text = meta.get(name)
    if (
        not isinstance(text, str)
        or not text.isascii()
        or not text.isdigit()
        or not low <= int(text[:16]) <= high
    ):
        allowed = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(f"{name} is {text!r}, expected {allowed}")
    return int(text)


def _choice(meta: dict[str, str | bytes], name: str, known: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a literal of `known`
    if meta.get(name) not in known:
        raise ValueError(f"{name} is {meta.get(name)!r}, expected {' or '.join(known)}")
    return meta[name]


def _scale(meta: dict[str, str | bytes]) -> Scale:
    stored = meta.get("scale")
    if not isinstance(stored, bytes) or len(stored) % 4:
        raise ValueError("scale is missing, or no row of float32")
    scale = np.frombuffer(stored, "<f4").astype(np.float32)
    if not np.isfinite(scale).all() or (scale <= 0).any():
        raise ValueError("scale holds a number that is not positive and finite")
    return scale


def _spaces(meta: dict[str, str | bytes]) -> Spaces | None:
    key_space_id, h_space_id = meta.get("key_space_id"), meta.get("h_space_id")
    if not isinstance(key_space_id, str) or not isinstance(h_space_id, str):
        return None
    return Spaces(key_space_id, h_space_id)
