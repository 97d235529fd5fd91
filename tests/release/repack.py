"""A source archive without what differs from build to build: times, owners, the order of files.

Setuptools writes wheels that are the same each time (SOURCE_DATE_EPOCH), and source archives that are not.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path


def repack(archive: Path, time: int) -> None:
    """Write a ``.tar.gz`` anew.

    Args:
        archive: The file.
        time: Seconds since 1970 that everything in it gets.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as before,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=time) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as after,
    ):
        for member in sorted(before.getmembers(), key=lambda member: member.name):
            after.addfile(_plain(member, time), before.extractfile(member) if member.isfile() else None)
    beside = archive.with_name(f"{archive.name}.partial")
    beside.write_bytes(packed.getvalue())
    beside.replace(archive)


def _plain(member: tarfile.TarInfo, time: int) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(member.name)
    plain.type, plain.size, plain.mtime, plain.linkname = member.type, member.size, time, member.linkname
    plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return plain
