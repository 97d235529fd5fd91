"""Builds a library of a collection of pictures, and goes on where a killed build stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragturbo_runtime.arrays import Scale
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.collection.entry import Entry, SkippedPicture
from ragturbo_runtime.errors import InvalidInputError, OutputError
from ragturbo_runtime.fitting import require_fit, spaces_of
from ragturbo_runtime.index.cache import EXACT_BELOW
from ragturbo_runtime.index.kinds import installed_kind
from ragturbo_runtime.indexing.engine import Chunk, Encoded, Engine
from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.creation import create_library
from ragturbo_runtime.library.feature_rows import FeatureCodec, clipped_share, scale_of
from ragturbo_runtime.library.layout import RECORDS_FILE, Layout
from ragturbo_runtime.library.whole import key_dtype_for
from ragturbo_runtime.library.writer import LibraryWriter

logger: logging.Logger = logging.getLogger(__name__)

_SAMPLE = 128
"""Pictures that the features' scale is taken from, evenly spread over the collection."""
_HEADROOM = np.float32(1.25)
"""Beyond the largest value of the sample: the others, and those that are added later, must fit in."""
_MUCH_CLIPPED = 0.01


@dataclass(frozen=True)
class BuildProgress:
    """Some more pictures are in the library."""

    done: int
    """Pictures that are dealt with by now: added, known before, or skipped."""
    total: int
    """Pictures of the collection."""


@dataclass(frozen=True)
class BuildReport:
    """What became of the pictures of a collection."""

    added: int
    """Pictures that are in the library now, and were not."""
    known: int
    """Pictures whose ids were in it before: of a build that was stopped, or of an earlier one."""
    skipped: tuple[SkippedPicture, ...]
    """What cannot be used, with the reason."""


Progress = Callable[[BuildProgress], object]


def build_library(
    bundle: Bundle,
    collection: Iterable[Entry | SkippedPicture],
    directory: Path,
    engine: Engine,
    *,
    progress: Progress | None = None,
) -> BuildReport:
    """Put the pictures of a collection into a library, which is made if there is none.

    Every batch is on the disk before the next is read: a build that was killed is started again, and goes on there.

    Args:
        bundle: Whose encoders are used.
        collection: Captioned pictures.
        directory: The library's folder.
        engine: Encodes, with the bundle's graphs.
        progress: Called in this thread after each batch.

    Returns:
        What became of the pictures.

    Raises:
        InvalidInputError: No picture can be used.
        RetrievalError: There is a library of other encoders in the folder, or a damaged one.
        LibraryLockedError: Somebody else writes to it.
        OutputError: The disk is full, or the folder cannot be written; what was reported is there.
        InferenceError: A graph failed.
    """
    listed = list(collection)
    entries = [one for one in listed if isinstance(one, Entry)]
    if not (directory / RECORDS_FILE).exists():
        scale = sampled_scale(entries, engine)
        create_library(directory, empty_layout(bundle, scale=scale, pictures=len(entries)))
    with LibraryWriter(directory) as writer:
        require_fit(bundle, writer.layout, directory)
        report = add_entries(writer, entries, engine, of=len(listed), progress=progress)
        index_if_needed(writer)
    refused = tuple(one for one in listed if isinstance(one, SkippedPicture))
    return BuildReport(report.added, report.known, refused + report.skipped)


def add_entries(
    writer: LibraryWriter,
    entries: Sequence[Entry],
    engine: Engine,
    *,
    of: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Add pictures, batch by batch.

    Args:
        writer: Of the library.
        entries: The pictures; those whose ids are known are left out.
        engine: Encodes, with the graphs of the library's bundle.
        of: Pictures of the whole collection, for the progress; None: these.
        progress: Called in this thread after each batch.

    Returns:
        What became of them.

    Raises:
        OutputError: The disk is full, or the folder cannot be written; what was reported is there.
        InferenceError: A graph failed.
    """
    known = writer.known([entry.id for entry in entries])
    total = len(entries) if of is None else of
    added, skipped, clipped = 0, list[SkippedPicture](), 0.0
    for encoded in engine.encode(_chunks(entries, engine.size, known)):
        clipped += _add(writer, encoded)
        added += len(encoded.items)
        skipped += encoded.skipped
        if progress is not None:
            progress(BuildProgress(total - len(entries) + len(known) + added + len(skipped), total))
    if clipped > _MUCH_CLIPPED * max(1, added):
        logger.warning(
            "%.1f %% of the features lie beyond what this library's scale can hold: its first pictures were of "
            "another kind; build it again from all of them",
            100 * clipped / added,
        )
    return BuildReport(added, len(known), tuple(skipped))


def _chunks(entries: Sequence[Entry], size: int, known: set[str]) -> Iterator[Chunk]:
    """The same ones in a build that goes on as in one that was never stopped: so are the library's bytes."""
    for start in range(0, len(entries), size):
        if chunk := [entry for entry in entries[start : start + size] if entry.id not in known]:
            yield chunk


def index_if_needed(writer: LibraryWriter) -> None:
    """Build the index anew where so many pictures are not in it that searching them exactly takes long."""
    if writer.layout.rows - writer.layout.indexed < EXACT_BELOW or installed_kind() is None:
        return
    try:
        compact(writer)
    except OutputError as exc:  # the pictures are there, and found, if not as fast
        logger.warning("the index was not built: %s", exc)


def _add(writer: LibraryWriter, encoded: Encoded) -> float:
    """Add a chunk; return the sum over its pictures of the share of values that were clipped."""
    if not encoded.items:
        return 0.0
    writer.add(encoded.items, encoded.keys, encoded.features)
    layout = writer.layout
    return len(encoded.items) * clipped_share(encoded.features, layout.feature_codec, layout.scale)


def empty_layout(bundle: Bundle, *, scale: Scale, pictures: int) -> Layout:
    """Return the layout of a new library.

    Args:
        bundle: Whose encoders it is for, and whose adapter says how features are stored.
        scale: (C,) float32 of its features.
        pictures: How many there will be, about.
    """
    manifest = bundle.manifest
    codec: FeatureCodec = "float16" if manifest.adapter.feature_codec == "float16" else "int8"
    return Layout(
        generation=1,
        rows=0,
        indexed=0,
        version=0,
        embed_dim=manifest.text.embed_dim,
        tokens=manifest.adapter.tokens,
        channels=manifest.adapter.channels,
        key_dtype=key_dtype_for(pictures),
        feature_codec=codec,
        scale=scale if codec == "int8" else np.ones_like(scale),
        spaces=spaces_of(bundle),
    )


def sampled_scale(entries: Sequence[Entry], engine: Engine) -> Scale:
    """Take the step of every channel from some of the pictures, evenly spread.

    Args:
        entries: The whole collection.
        engine: Encodes them.

    Returns:
        (C,) float32.

    Raises:
        InvalidInputError: None of the sample can be used.
        InferenceError: A graph failed.
    """
    sample = entries[:: max(1, -(-len(entries) // _SAMPLE))]
    features = [
        encoded.features for encoded in engine.encode(_chunks(sample, engine.size, set())) if encoded.items
    ]
    if not features:
        raise InvalidInputError(
            f"none of {len(sample)} pictures can be used",
            argument="collection",
            hint="see that they are pictures, with captions; docs/library.md lists what can be read",
        )
    return scale_of(np.concatenate(features)) * _HEADROOM
