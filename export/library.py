"""Encodes the library with the graphs that were just written, so that its features are the runtime's own."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from export.manifest import h_space_id, key_space_id
from export.models import Models
from export.pictures import Entry, Pixels
from ragturbo_runtime.library.feature_rows import reference_tokens
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import write_library
from ragturbo_runtime.manifest import LibraryPart
from ragturbo_runtime.spaces import Spaces
from ragturbo_runtime.tokenizer import Tokenizer

DIRECTORY = "library"
THUMBNAIL_SIDE = 256
"""Largest side of a thumbnail, pixels."""
THUMBNAIL_COLOURS = 64
"""In its palette: it is there to be recognised, and takes under half the bytes so."""
_BATCH_PIXELS = 32 * 64 * 64
"""Encoded at a time: the autoencoder's first layers take 0.5 KB for each at SD-Turbo's width."""


class Encoder(Protocol):
    """What runs a graph: ONNX Runtime (`ragturbo_runtime.session.GraphSession`), or torch in its place."""

    def run(self, feeds: dict[str, NDArray[Any]], /) -> dict[str, NDArray[Any]]:
        """Inputs by name to outputs by name."""


def build_library(
    bundle: Path,
    entries: Sequence[Entry],
    models: Models,
    sessions: Mapping[str, Encoder],
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
        ExportError: A picture cannot be read.
        RagTurboError: A graph failed, or the folder cannot be written.
    """
    metadata = models.metadata
    scratch = bundle / ".features.f32"  # larger than memory for a large library
    features = np.memmap(scratch, np.float32, "w+", shape=(len(entries), metadata.tokens, metadata.channels))
    keys = np.empty((len(entries), models.family.text.embed_dim), np.float32)
    items: list[LibraryItem] = []
    encoder = _Encoder(models, sessions, tokenizer)
    try:
        for rows, some in _batches(entries, max(1, _BATCH_PIXELS // models.family.resolution**2)):
            pictures = [entry.load() for entry in some]
            keys[rows], features[rows] = encoder.encode(pictures, [entry.caption for entry in some])
            items += [_item(entry, picture) for entry, picture in zip(some, pictures, strict=True)]
        spaces = Spaces(key_space_id(models), h_space_id(models))
        return write_library(bundle / DIRECTORY, items, keys, features, spaces=spaces)
    finally:
        del features
        scratch.unlink(missing_ok=True)


def _batches(entries: Sequence[Entry], batch: int) -> Iterator[tuple[slice, Sequence[Entry]]]:
    with tqdm(total=len(entries), desc="library", unit="picture") as progress:
        for start in range(0, len(entries), batch):
            some = entries[start : start + batch]
            yield slice(start, start + len(some)), some
            progress.update(len(some))


class _Encoder:
    """Pictures and captions to keys and features, through ONNX Runtime."""

    def __init__(self, models: Models, sessions: Mapping[str, Encoder], tokenizer: Tokenizer) -> None:
        self._sessions, self._tokenizer = sessions, tokenizer
        self._timestep = models.metadata.reference_timestep
        self._caption = models.metadata.reference_caption
        self._pool = models.metadata.reference_pool

    def encode(
        self, pictures: Sequence[Pixels], captions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B pictures, B captions) -> keys (B, E), features (B, T, C)."""
        text = self._text(captions)
        conditioning = text if self._caption == "caption" else self._text([""] * len(captions))
        latents = self._sessions["vae_encoder"].run({"sample": to_model(pictures)})["latent_sample"]
        h = self._sessions["unet_encoder"].run(
            {
                "sample": latents,
                "timestep": np.full(len(latents), self._timestep, np.int64),
                "encoder_hidden_states": conditioning["last_hidden_state"],
            }
        )["h"]
        return text["text_embeds"], reference_tokens(h, self._pool)

    def _text(self, captions: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        tokens = self._tokenizer.encode(list(captions))
        return self._sessions["text_encoder"].run(
            {"input_ids": tokens.input_ids, "eos_index": tokens.eos_index}
        )


def to_model(pictures: Sequence[Pixels]) -> NDArray[np.float32]:
    """Turn pictures into what the VAE reads.

    Args:
        pictures: B arrays (H, W, 3) uint8.

    Returns:
        (B, 3, H, W) float32 in [-1, 1].
    """
    stacked = np.stack(list(pictures)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)


def _item(entry: Entry, picture: Pixels) -> LibraryItem:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    few = image.quantize(THUMBNAIL_COLOURS, dither=Image.Dither.NONE)
    png = io.BytesIO()
    few.save(png, format="PNG", optimize=True)
    return LibraryItem(entry.id, entry.caption, png.getvalue(), entry.source, entry.licence)
