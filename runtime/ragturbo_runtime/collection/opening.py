"""Opens a collection of captioned pictures, whichever kind it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragturbo_runtime.collection.entry import Entry, SkippedPicture
from ragturbo_runtime.collection.folder import folder_entries
from ragturbo_runtime.collection.metadata import LINES, TABLE
from ragturbo_runtime.collection.shards import shard_entries
from ragturbo_runtime.errors import InvalidInputError

_WANTED = (
    f"a folder with a {TABLE} or {LINES} (columns file_name and text), a folder of .tar shards, or one .tar"
)


@dataclass(frozen=True)
class Collection:
    """What a collection holds, in its order; no picture is read yet.

    Attributes:
        path: Where it is.
        items: All of it.
    """

    path: Path
    items: tuple[Entry | SkippedPicture, ...]

    def __iter__(self) -> Iterator[Entry | SkippedPicture]:
        """Go through all of it."""
        return iter(self.items)

    def __len__(self) -> int:
        """Count all of it, what cannot be used as well."""
        return len(self.items)

    @property
    def entries(self) -> list[Entry]:
        """What can be used."""
        return [item for item in self.items if isinstance(item, Entry)]

    @property
    def skipped(self) -> list[SkippedPicture]:
        """What cannot."""
        return [item for item in self.items if isinstance(item, SkippedPicture)]


def open_collection(path: Path) -> Collection:
    """List a collection.

    Args:
        path: A folder of pictures with a metadata.csv or metadata.jsonl, a folder of webdataset shards, or one shard.
            A folder with a list is read by its list, shards or not.

    Returns:
        What it holds.

    Raises:
        InvalidInputError: It is none of these, or its list is damaged.
    """
    try:
        return Collection(path, tuple(_items(path)))
    except OSError as error:
        raise InvalidInputError(
            f"{path}: cannot be read ({error.strerror or error})",
            argument="collection",
            hint="make it readable",
        ) from error


def _items(path: Path) -> Iterator[Entry | SkippedPicture]:
    if path.is_file() and _is_shard(path):
        return shard_entries([path])
    if not path.is_dir():
        seen = "is another kind of file" if path.exists() else "is not there"
        raise _refusal(f"{path}: {seen}, expected {_WANTED}")
    if (path / TABLE).is_file() or (path / LINES).is_file():
        return folder_entries(path)
    shards = sorted(one for one in path.iterdir() if _is_shard(one) and one.is_file())
    if not shards:
        raise _refusal(f"{path}: no {TABLE}, no {LINES} and no .tar in it, expected {_WANTED}")
    return shard_entries(shards)


def _is_shard(path: Path) -> bool:
    """By its name; macOS puts a ``._NAME.tar`` that is no archive beside each one."""
    return path.suffix.lower() == ".tar" and not path.name.startswith(".")


def _refusal(message: str) -> InvalidInputError:
    hint = "list the pictures in such a file, or unpack a compressed archive to .tar"
    return InvalidInputError(message, argument="collection", hint=hint)
