"""Encodes the library with the graphs that were just written, so that its features are the runtime's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from export.manifest import h_space_id, key_space_id
from export.models import Models
from ragturbo_runtime.arrays import Pixels
from ragturbo_runtime.collection.entry import Entry
from ragturbo_runtime.indexing.encoder import PictureEncoder, Runner, batch_size
from ragturbo_runtime.indexing.thumbnail import make_thumbnail
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import write_library
from ragturbo_runtime.manifest import LibraryPart
from ragturbo_runtime.spaces import Spaces
from ragturbo_runtime.tokenizer import Tokenizer

DIRECTORY = "library"


def build_library(
    bundle: Path,
    entries: Sequence[Entry],
    models: Models,
    sessions: Mapping[str, Runner],
    tokenizer: Tokenizer,
) -> LibraryPart:
    """Encode pictures and captions and write the library folder.

    Args:
        bundle: The bundle's folder, in the making.
        entries: N pictures, at least one.
        models: Says at which timestep and with which caption features are taken, and what the spaces are called.
        sessions: text_encoder, vae_encoder, unet_encoder of this bundle.
        tokenizer: Of this bundle.

    Returns:
        The manifest's ``library``.

    Raises:
        RagTurboError: A picture cannot be read, a graph failed, or the folder cannot be written.
    """
    metadata, side = models.metadata, models.family.resolution
    scratch = bundle / ".features.f32"  # larger than memory for a large library
    features = np.memmap(scratch, np.float32, "w+", shape=(len(entries), metadata.tokens, metadata.channels))
    keys = np.empty((len(entries), models.family.text.embed_dim), np.float32)
    items: list[LibraryItem] = []
    encoder = PictureEncoder(sessions, tokenizer, metadata)
    try:
        for rows, some in _batches(entries, batch_size(side)):
            pictures = [entry.read(side) for entry in some]
            keys[rows], features[rows] = encoder.encode(pictures, [entry.caption for entry in some])
            items += [_item(entry, picture) for entry, picture in zip(some, pictures, strict=True)]
        spaces = Spaces(key_space_id(models), h_space_id(models))
        return write_library(
            bundle / DIRECTORY, items, keys, features, spaces=spaces, codec=models.feature_codec
        )
    finally:
        del features
        scratch.unlink(missing_ok=True)


def _batches(entries: Sequence[Entry], batch: int) -> Iterator[tuple[slice, Sequence[Entry]]]:
    with tqdm(total=len(entries), desc="library", unit="picture") as progress:
        for start in range(0, len(entries), batch):
            some = entries[start : start + batch]
            yield slice(start, start + len(some)), some
            progress.update(len(some))


def _item(entry: Entry, picture: Pixels) -> LibraryItem:
    return LibraryItem(entry.id, entry.caption, make_thumbnail(picture), entry.source, entry.licence)
