"""The reference library as a host sees it: searched, added to and checked while pictures are drawn."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragturbo_runtime.arrays import Pixels
from ragturbo_runtime.collection.entry import Entry, SkippedPicture
from ragturbo_runtime.index.cache import read_index_info
from ragturbo_runtime.indexing.building import BuildProgress, BuildReport, add_entries, index_if_needed
from ragturbo_runtime.indexing.engine import LocalEngine
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.copying import copy_library
from ragturbo_runtime.library.verification import LibraryProblem, verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from ragturbo_sdk.checks import (
    check_callable,
    check_folder,
    check_ids,
    check_integer,
    check_prompts,
    check_text,
)
from ragturbo_sdk.errors import InvalidInputError, RetrievalError
from ragturbo_sdk.reference import Reference, keep

if TYPE_CHECKING:
    from PIL.Image import Image

    from ragturbo_runtime.library.opened import Library as OpenedLibrary
    from ragturbo_runtime.pipeline import Pipeline

__all__ = ["BuildProgress", "BuildReport", "Library", "LibraryInfo", "LibraryProblem", "SkippedPicture"]

MAX_FOUND = 1000


@dataclass(frozen=True)
class LibraryInfo:
    """What is known about a library."""

    path: Path
    """Its folder."""
    size: int
    """Pictures in it."""
    removed: int
    """Pictures whose room ``compact`` would free."""
    indexed: int
    """Pictures in the index; the others are searched exactly."""
    recall: float | None
    """Share of the 10 nearest that the index found when it was built; None without an index."""
    feature_codec: str
    """How features are stored: ``"int8"`` or ``"float16"``."""
    feature_bytes: int
    """Bytes of one reference's features."""
    key_dtype: str
    disk_bytes: int
    """All files together."""
    writable: bool
    """False for the library inside a bundle, which is what its manifest says."""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "path": str(self.path)}


def describe_library(opened: OpenedLibrary, *, writable: bool) -> LibraryInfo:
    """Read off a library what a host may want to know.

    Args:
        opened: The open library.
        writable: Whether it may be changed.

    Raises:
        RetrievalError: It was closed, or cannot be read.
    """
    view, folder = opened.view, opened.directory
    layout = view.layout
    try:
        recall = read_index_info(folder, layout).recall if layout.indexed else None
    except RetrievalError:  # gone since: then it is not used either
        recall = None
    return LibraryInfo(
        path=folder,
        size=view.count,
        removed=layout.rows - view.count,
        indexed=layout.indexed,
        recall=recall,
        feature_codec=layout.feature_codec,
        feature_bytes=layout.feature_row.itemsize,
        key_dtype=layout.key_dtype,
        disk_bytes=sum(map(_bytes, folder.rglob("*"))),
        writable=writable,
    )


def _bytes(path: Path) -> int:
    """The size of a file; nothing of one that a writer has deleted meanwhile."""
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


class Library:
    """The library of a generator; ``generator.library`` returns it. Threads may use it while others draw.

    What is added is found by the next picture, what is removed is not; when a call returns, its change is on the disk.
    One process writes at a time, any number read.
    """

    def __init__(self, pipeline: Pipeline, opened: OpenedLibrary, *, writable: bool) -> None:
        """Wrap an opened library; ``generator.library`` is the way in."""
        self._pipeline, self._opened, self._writable = pipeline, opened, writable
        self._turns = _turns_of(opened.directory)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._opened.directory

    def __len__(self) -> int:
        """Pictures in it now."""
        return self._opened.view.count

    def __repr__(self) -> str:
        """Name the folder."""
        return f"<Library {self.path}>"

    @property
    def info(self) -> LibraryInfo:
        """What is known about it now.

        Raises:
            RetrievalError: It was closed, or cannot be read.
        """
        return describe_library(self._opened, writable=self._writable)

    def search(self, query: str | Image | Path | bytes, *, count: int = 10) -> tuple[Reference, ...]:
        """Find the pictures whose captions are nearest to a text, or to what a picture shows.

        Args:
            query: A text (unlike a prompt it is one query as a whole), or a picture: a PIL image, the path of a file
                or its bytes. Pictures need a bundle with an image tower.
            count: The most to return, 1 to 1000.

        Returns:
            References, nearest first; ``weight`` is what each would count in a picture.

        Raises:
            InvalidInputError: An argument is of the wrong type or out of range.
            RetrievalError: The library was closed, or cannot be read, or the bundle has no image tower.
            InferenceError: A graph failed.
        """
        wanted = check_integer("count", count, 1, MAX_FOUND, hint="10 is what fits a page")
        len(self)  # where all is closed, it is the library that says so
        if isinstance(query, str):
            found = self._pipeline.nearest(check_prompts(query)[0], wanted)
        else:
            found = self._pipeline.nearest_to_picture(lambda side: _pixels(query, side), wanted)
        return tuple(keep(one) for one in found)

    def add(
        self,
        image: Image | str | Path | bytes,
        caption: str,
        *,
        id: str | None = None,
        source: str = "",
        licence: str = "",
    ) -> str:
        """Add a picture; the next prompt that names what it shows will use it.

        Args:
            image: A PIL image, or a picture file or its bytes. Its middle square is used.
            caption: What it shows: prompts are compared with this.
            id: A name that the library does not have yet; None for a new one.
            source: Where it comes from; results name it.
            licence: Under which licence; results name it.

        Returns:
            Its id.

        Raises:
            InvalidInputError: The picture cannot be read, the caption is empty, or the id is taken.
            LibraryLockedError: Another process writes to the library.
            RetrievalError: The library is a bundle's own, or the bundle cannot encode pictures.
            OutputError: It cannot be written; nothing was added.
            InferenceError: A graph failed.
        """
        name = secrets.token_hex(8) if id is None else check_text("id", id)
        side = self._pipeline.bundle.manifest.picture_height
        pixels = _pixels(image, side)
        entry = Entry(
            name,
            check_prompts(caption if isinstance(caption, str) else [caption])[0],
            check_text("source", source, empty=True),
            check_text("licence", licence, empty=True),
            lambda _: pixels,
        )
        with self._writing() as writer:
            if writer.known([name]):
                raise InvalidInputError(
                    f"id {name!r} is in the library already",
                    argument="id",
                    hint="remove it first, or leave id out",
                )
            add_entries(writer, [entry], self._engine())
            index_if_needed(writer)
        return name

    def add_folder(
        self, folder: str | Path, *, progress: Callable[[BuildProgress], object] | None = None
    ) -> BuildReport:
        """Add the pictures of a folder.

        Args:
            folder: Pictures with a metadata.csv or metadata.jsonl (Hugging Face's imagefolder), or webdataset shards.
            progress: Called in this thread after each batch.

        Returns:
            How many were added, how many were there before, and what was skipped, with the reasons.

        Raises:
            InvalidInputError: There is no such folder, or its metadata cannot be read.
            LibraryLockedError: Another process writes to the library.
            RetrievalError: The library is a bundle's own, or the bundle cannot encode pictures.
            OutputError: It cannot be written; what was reported is there.
            InferenceError: A graph failed.
        """
        from ragturbo_runtime.collection.opening import open_collection

        check_callable("progress", progress)
        collection = open_collection(check_folder("folder", folder))
        with self._writing() as writer:
            report = add_entries(
                writer, collection.entries, self._engine(), of=len(collection), progress=progress
            )
            index_if_needed(writer)
        return BuildReport(report.added, report.known, (*collection.skipped, *report.skipped))

    def remove(self, ids: str | Sequence[str]) -> int:
        """Remove pictures.

        Args:
            ids: Their names; all must be there.

        Returns:
            How many.

        Raises:
            InvalidInputError: An id is not in the library; then nothing was removed.
            LibraryLockedError: Another process writes to the library.
            RetrievalError: The library is a bundle's own.
            OutputError: It cannot be written; nothing was removed.
        """
        with self._writing() as writer:
            return writer.remove(check_ids(ids))

    def compact(self) -> None:
        """Free the room of removed pictures, and build the index anew.

        Raises:
            LibraryLockedError: Another process writes to the library.
            RetrievalError: The library is a bundle's own, or damaged.
            OutputError: It cannot be written; it is as it was.
        """
        with self._writing() as writer:
            compact(writer)

    def verify(self) -> tuple[LibraryProblem, ...]:
        """Read every byte and compare it with what was written.

        Returns:
            What is wrong, each with its file and its cure; nothing in a whole library.
        """
        return tuple(verify_library(self.path))

    def copy(self, folder: str | Path) -> Path:
        """Copy the library, for a host that wants to add to a bundle's own: ``Generator(library=copy)``.

        Args:
            folder: Where; nothing may be there yet.

        Returns:
            The folder.

        Raises:
            OutputError: Something is there, or it cannot be written.
            LibraryLockedError: A process writes to this library.
        """
        target = check_folder("folder", folder)
        if not self._writable:
            return copy_library(self.path, target)
        with self._writing():  # nothing changes meanwhile
            return copy_library(self.path, target)

    def _engine(self) -> LocalEngine:
        side = self._pipeline.bundle.manifest.picture_height
        return LocalEngine(self._pipeline.picture_encoder(), side)

    def _writing(self) -> _Turn:
        if not self._writable:
            raise RetrievalError(
                f"{self.path}: this library is part of a bundle, whose manifest says what is in it",
                hint="copy it: generator.library.copy(folder), then Generator(library=folder)",
            )
        return _Turn(self._turns, self.path)


class _Turn:
    """Threads of this process wait for each other; another process is refused."""

    def __init__(self, turns: threading.Lock, path: Path) -> None:
        self._turns, self._path = turns, path

    def __enter__(self) -> LibraryWriter:
        self._turns.acquire()
        try:
            self._writer = LibraryWriter(self._path)
        except BaseException:
            self._turns.release()
            raise
        return self._writer

    def __exit__(self, *_: object) -> None:
        try:
            self._writer.close()
        finally:
            self._turns.release()


_TURNS: dict[Path, threading.Lock] = {}
_GUARD = threading.Lock()


def _turns_of(folder: Path) -> threading.Lock:
    """One lock per folder, however many generators have it open."""
    with _GUARD:
        return _TURNS.setdefault(folder.resolve(), threading.Lock())


def _pixels(image: object, side: int) -> Pixels:
    """The middle square of a picture, whatever it is given as."""
    from PIL import Image

    from ragturbo_runtime.collection.picture import read_picture, square_of

    if isinstance(image, Image.Image):
        return square_of(image, side, name="image")
    if isinstance(image, bytes):
        return read_picture(image, side, name="image")
    if isinstance(image, str | Path):
        return read_picture(Path(image), side, name=str(image))
    raise InvalidInputError(
        f"image is {type(image).__name__}, expected a PIL image, a path or a file's bytes",
        argument="image",
        hint="wrap an array with PIL.Image.fromarray",
    )
