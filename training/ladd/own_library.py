"""Encodes the user's own captioned pictures, once: latents and keys are kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from training.atomic import save_atomically
from training.data.picture_folder import CaptionedPicture, load_pixels
from training.family.folder import LATENT_CONFIGS, configs_hash, family_hashes
from training.ladd.library import TrainingLibrary, encode_keys, encode_pictures
from training.recipe import check_recipe, digest_of, write_recipe

if TYPE_CHECKING:
    from training.family.folder import Family

BATCH = 32
RECIPE_FILE, ENCODED_FILE = "library.json", "library.safetensors"


def encode_own_library(
    family: Family, folder: Path, pictures: Sequence[CaptionedPicture], kept: Path
) -> TrainingLibrary:
    """Encode the pictures of a folder, or read what an earlier run encoded.

    Args:
        family: Its autoencoder and text tower.
        folder: Where the pictures lie.
        pictures: What `read_picture_folder` found there.
        kept: Folder of what is kept.

    Raises:
        FileNotFoundError: A picture is missing.
        ValueError: A picture cannot be read, or `kept` is of other pictures or of another family.
        OSError: The disk is full.
    """
    captions = tuple(one.caption for one in pictures)
    recipe, path = _recipe(family, folder, pictures), kept / ENCODED_FILE
    if (kept / RECIPE_FILE).exists():
        way_out = f"use another work_dir, or delete {kept}"
        check_recipe(kept / RECIPE_FILE, recipe, what="encoded pictures", way_out=way_out)
    if not ((kept / RECIPE_FILE).exists() and path.exists()):
        encoded = {
            "latents": _encode(family, pictures).contiguous(),
            "keys": encode_keys(family.text, captions),
        }
        save_atomically(path, lambda beside: save_file(encoded, beside))
        write_recipe(kept / RECIPE_FILE, recipe)  # last: it is there only if the encoded pictures are
    try:
        read = load_file(path)
        return TrainingLibrary(captions, read["latents"], read["keys"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); delete it to encode the pictures anew"
        ) from error


def _encode(family: Family, pictures: Sequence[CaptionedPicture]) -> torch.Tensor:
    starts = tqdm(range(0, len(pictures), BATCH), desc="library", unit="batch")
    parts = []
    for first in starts:
        pixels = load_pixels(pictures[first : first + BATCH], family.resolution)
        parts.append(encode_pictures(family.vae, torch.from_numpy(pixels), batch=BATCH))
    return torch.cat(parts)


def _recipe(family: Family, folder: Path, pictures: Sequence[CaptionedPicture]) -> dict[str, object]:
    """What the encoded pictures depend on; a file that keeps its name but not its size was changed."""
    listed = (f"{one.path.relative_to(folder)}\t{one.path.stat().st_size}\t{one.caption}" for one in pictures)
    hashes = family_hashes(family.path)
    return {
        "format_version": 1,
        "pictures": len(pictures),
        "sha256": digest_of(listed),
        "resolution": family.resolution,
        "vae": hashes["vae"],
        "text_encoder": hashes["text_encoder"],
        "configs": configs_hash(family.path, LATENT_CONFIGS),
    }
