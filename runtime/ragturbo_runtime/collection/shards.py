"""Reads webdataset shards: tar archives in which the files of a sample share a name up to its first dot.

A sample is a picture and its caption, from ``NAME.txt`` or from ``caption`` or ``text`` in ``NAME.json``, where
``source``, ``licence`` (or ``license``) and ``id`` may stand too. Pictures are read from where they lie.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ragturbo_runtime.arrays import Pixels
from ragturbo_runtime.collection.description import claim, describe
from ragturbo_runtime.collection.entry import Entry, PictureError, SkippedPicture, printable
from ragturbo_runtime.collection.picture import read_picture
from ragturbo_runtime.collection.sample import Sample, Samples
from ragturbo_runtime.collection.tar_members import Member, read_members


def shard_entries(shards: Iterable[Path]) -> Iterator[Entry | SkippedPicture]:
    """List the samples of shards.

    Args:
        shards: Tar archives without compression, in the order wanted.

    Yields:
        What each sample is. Skipped: a sample without a picture or caption, or with several pictures; whose files are
        links, too large, cut off, or have names that lead out of the archive; whose id came before. After the samples
        of a damaged archive comes what is wrong with it. The default id is the shard's name without ".tar", "/", and
        the sample's.
    """
    taken: dict[str, str] = {}
    for shard in shards:
        samples, damage = _list(shard)
        for sample in samples:
            place = printable(f"{shard}: {sample.key}")
            try:
                entry = _entry(shard, sample, place)
                claim(taken, entry.id, place)
            except PictureError as error:
                yield SkippedPicture(place, error.message)
            else:
                yield entry
        if damage is not None:
            yield SkippedPicture(printable(str(shard)), damage)


def _list(shard: Path) -> tuple[list[Sample], str | None]:
    """The samples of a shard, and why there are no more."""
    samples = Samples()
    try:
        with shard.open("rb") as file:
            for member in read_members(file):
                samples.take(member, file)
    except tarfile.ReadError as error:
        return samples.listed, f"it, or the rest of it, cannot be read as a tar archive: {error}"
    except OSError as error:
        return samples.listed, f"cannot be read ({error.strerror or error})"
    return samples.listed, None


def _entry(shard: Path, sample: Sample, place: str) -> Entry:
    picture = sample.picture()
    about = describe(sample.facts(), default_id=f"{shard.stem}/{sample.key}")
    read = partial(_read, shard, picture, place)
    return Entry(about.id, about.caption, about.source, about.licence, read)


def _read(shard: Path, member: Member, place: str, side: int) -> Pixels:
    """Read a picture with a file handle of its own: several threads do so at once."""
    try:
        with shard.open("rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
    except OSError as error:
        raise PictureError(
            f"{place}: the shard cannot be read ({error.strerror or error})", hint="put it back where it was"
        ) from error
    return read_picture(data, side, name=place)
