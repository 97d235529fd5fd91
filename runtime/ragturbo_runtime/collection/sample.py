"""Puts the files of a shard together to samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, Any

from ragturbo_runtime.collection.entry import PictureError, printable
from ragturbo_runtime.collection.metadata import json_object
from ragturbo_runtime.collection.tar_members import Member

MAX_PICTURE_BYTES = 256 * 2**20
MAX_TEXT_BYTES = 2**20
"""Of a .txt or .json: these are read when the shard is listed, and stay in memory until it is."""
_PICTURES = frozenset({"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"})
_TEXTS = frozenset({"txt", "json"})


@dataclass
class Sample:
    """Files of one name.

    Attributes:
        key: The name, with the folder in the archive before it.
        pictures: By ending, in the archive's order.
        texts: The bytes of its .txt and .json, by ending.
        fault: Why it cannot be used, or None.
        endings: All that there are of this name.
    """

    key: str
    pictures: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    fault: str | None = None
    endings: set[str] = field(default_factory=set)

    def picture(self) -> Member:
        """Return the one picture.

        Raises:
            PictureError: There is none, there are several, or the sample has a fault.
        """
        if self.fault is not None:
            raise PictureError(self.fault)
        if len(self.pictures) != 1:
            endings = printable(", ".join("." + one for one in sorted(self.endings)))
            what = "several pictures" if self.pictures else "no picture"
            raise PictureError(f"needs one picture, has {what} among {endings}")
        return next(iter(self.pictures.values()))

    def facts(self) -> dict[str, Any]:
        """Return what its .json says, with the text of its .txt as ``text``, if that is not empty.

        Raises:
            PictureError: One of them is no JSON object, or no UTF-8.
        """
        try:
            facts = json_object(self.texts["json"].decode("utf-8-sig")) if "json" in self.texts else {}
        except ValueError as error:
            raise PictureError(f"its .json: {error}") from error
        try:
            text = self.texts.get("txt", b"").decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise PictureError(f"its .txt: {error}") from error
        return facts | {"text": text} if text else facts


class Samples:
    """The samples of one shard, in the order of their first files."""

    def __init__(self) -> None:
        self.listed: list[Sample] = []
        self._latest: dict[str, Sample] = {}

    def take(self, member: Member, file: IO[bytes]) -> None:
        """Add a file to its sample; one that has such a file already is followed by another of its name.

        Args:
            member: The file.
            file: The archive, to read a text from.

        Raises:
            OSError: The archive cannot be read.
        """
        key, ending = split_name(member.name)
        if not key:
            return
        sample = self._latest.get(key)
        if sample is None or ending in sample.endings:
            sample = self._latest[key] = Sample(key)
            self.listed.append(sample)
        sample.endings.add(ending)
        if ending not in _PICTURES | _TEXTS:
            return
        fault = _fault(member, MAX_PICTURE_BYTES if ending in _PICTURES else MAX_TEXT_BYTES)
        if fault is not None:
            sample.fault = sample.fault or f".{ending} {fault}"
        elif ending in _PICTURES:
            sample.pictures[ending] = member
        else:
            file.seek(member.offset)
            sample.texts[ending] = file.read(member.size)


def split_name(name: str) -> tuple[str, str]:
    """Split a name at the first dot after its folder.

    Args:
        name: As the archive has it: ``./cats/0001.JPG``.

    Returns:
        ``cats/0001`` and ``jpg``; two empty texts for a file that belongs to no sample: it begins with the dot, or
        has none.
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, dot, ending = base.partition(".")
    return (folder + slash + stem, ending.lower()) if stem and dot else ("", "")


def _fault(member: Member, limit: int) -> str | None:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return f"has a name that leads out of the archive: {member.name!r}"
    if member.fault is None and member.size > limit:
        return f"has {member.size:,} bytes, at most {limit:,} are allowed"
    return member.fault
