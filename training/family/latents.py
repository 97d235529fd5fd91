"""The training scenes as latents, with the map of what stands where: encoded once, kept on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.atomic import save_atomically
from training.data.layout_map import kind_maps
from training.data.scene import Scene
from training.data.splits import scene
from training.data.world import World
from training.family.scene_cache import SceneCache
from training.family.vae import encode_latents
from training.recipe import check_recipe, write_recipe

BATCH = 64
WAY_OUT = (
    "use another work folder (--work), or delete latents.json and, if it was begun with the old ones, teacher.pt in "
    "this one"
)


@dataclass(frozen=True)
class LatentCache:
    """Latents of a split's first scenes, with their concept maps."""

    latents: Tensor
    """(N, c, h, w) float16, scaled."""
    concept_maps: Tensor
    """(N, h, w) int16: 0 where the ground shows, else 1 + the concept's place in the world's names."""

    def __len__(self) -> int:
        """How many scenes."""
        return len(self.latents)


def cache_latents(folder: Path, vae: AutoencoderKL, scenes: SceneCache, world: World) -> LatentCache:
    """Encode all cached training scenes, or open what an earlier run encoded.

    Args:
        folder: Where the cache lies; it is made.
        vae: The family's autoencoder.
        scenes: The training scenes, from the first on.
        world: Their world.

    Returns:
        Latents (N, c, h, w) float16, scaled, and concept maps (N, h, w) int16, N = len(scenes).

    Raises:
        ValueError: The folder holds latents of other scenes or of another autoencoder.
        OSError: The disk is full or the folder cannot be written.
    """
    latents_file, maps_file = folder / "latents.npy", folder / "concept_maps.npy"
    recipe_file, recipe = folder / "latents.json", _recipe(vae, scenes, world)
    if recipe_file.exists():
        check_recipe(recipe_file, recipe, what="latents", way_out=WAY_OUT)
    else:
        latents = _encode_all(vae, scenes)
        maps = concept_maps([scene(world, "train", i) for i in range(len(scenes))], world, latents.shape[-1])
        save_atomically(maps_file, lambda path: _write(path, maps))
        save_atomically(latents_file, lambda path: _write(path, latents))
        write_recipe(recipe_file, recipe)  # last: it is there only if all else is
    return LatentCache(*(torch.from_numpy(np.load(file)) for file in (latents_file, maps_file)))


def concept_maps(scenes: Sequence[Scene], world: World, side: int) -> NDArray[np.int16]:
    """Say for every cell of some pictures what stands there.

    Args:
        scenes: N of them.
        world: Their world; the numbering follows `World.names`.
        side: Cells along a side.

    Returns:
        (N, side, side) int16: 0 for the ground, else 1 + the concept's place.
    """
    numbers = {name: number for number, name in enumerate(world.names)}
    return (kind_maps(scenes, side, numbers) + 1).astype(np.int16)


def _recipe(vae: AutoencoderKL, scenes: SceneCache, world: World) -> dict[str, object]:
    """What the latents depend on: hashes, the number of scenes and their side in pixels, the latents' scale."""
    return {
        "world": world.digest,
        "count": len(scenes),
        "resolution": scenes.pixels.shape[-1],
        "vae": _weights_hash(vae),
        "scaling_factor": float(vae.config.scaling_factor),
    }


def _weights_hash(model: AutoencoderKL) -> str:
    """SHA-256, hex, of a model's weights as they are in memory."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _encode_all(vae: AutoencoderKL, scenes: SceneCache) -> NDArray[np.float16]:
    starts = tqdm(range(0, len(scenes), BATCH), desc="latents", unit="batch")
    parts = [encode_latents(vae, scenes, np.arange(s, min(s + BATCH, len(scenes)))).half() for s in starts]
    return np.asarray(torch.cat(parts).numpy())


def _write(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
