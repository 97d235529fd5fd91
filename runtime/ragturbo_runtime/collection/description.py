"""What a list or a shard says of a picture: its id, caption, source and licence, under the names in use for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragturbo_runtime.collection.entry import PictureError

NO_LICENCE = "unknown"
_NAMES = {
    "id": ("id",),
    "caption": ("text", "caption"),
    "source": ("source",),
    "licence": ("licence", "license"),
}


@dataclass(frozen=True)
class Description:
    """As in `ragturbo_runtime.collection.entry.Entry`."""

    id: str
    caption: str
    source: str
    licence: str


def describe(row: Mapping[str, Any], *, default_id: str) -> Description:
    """Pick the description out of a row.

    Args:
        row: Values by column, as a CSV or JSON reader returns them.
        default_id: Taken where the row has none, as it is.

    Returns:
        The description, with blanks around each other text taken off.

    Raises:
        PictureError: There is no caption, or a value is no text.
    """
    found = {field: _first(row, names) for field, names in _NAMES.items()}
    if not found["caption"]:
        raise PictureError("needs a caption: text (or caption) is empty or not there")
    name = found["id"] or read_text("id", default_id)
    return Description(name, found["caption"], found["source"], found["licence"] or NO_LICENCE)


def read_text(column: str, value: object) -> str:
    """Return a value as text, "" if there is none.

    Args:
        column: Its name, for the error.
        value: A text, a number or None.

    Returns:
        The text as it is.

    Raises:
        PictureError: It is something else, or text that cannot be stored as UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PictureError(f"{column} is of type {type(value).__name__}, expected text")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PictureError(f"{column} is not Unicode text: {text!a}") from error
    return text


def claim(taken: dict[str, str], name: str, place: str) -> None:
    """Note that an id is in use from now on.

    Args:
        taken: Place by id; changed.
        name: The id.
        place: Where it stands.

    Raises:
        PictureError: It is in use already.
    """
    if name in taken:
        raise PictureError(f"has the id {name!r}, as {taken[name]} has; give each picture its own")
    taken[name] = place


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := read_text(name, row.get(name)).strip())), "")
