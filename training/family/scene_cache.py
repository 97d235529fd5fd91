"""The training scenes, drawn once and memory-mapped: every stage reads the same pictures and captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.atomic import save_atomically
from training.data.render import draw
from training.data.splits import scene
from training.data.world import Split, World
from training.recipe import check_recipe, write_recipe

WAY_OUT = "use another work folder (--work), or delete this one and the checkpoints that were made from it"


@dataclass(frozen=True)
class SceneCache:
    """Pictures and captions of the first scenes of a split."""

    pixels: NDArray[np.uint8]
    """(N, 3, H, W) uint8, memory-mapped."""
    captions: tuple[str, ...]

    def __len__(self) -> int:
        """How many scenes."""
        return len(self.captions)

    def batch(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, 3, H, W) float32 in [-1, 1]."""
        return self.pixels[rows].astype(np.float32) / 127.5 - 1.0


def cache_scenes(folder: Path, world: World, split: Split, count: int, resolution: int) -> SceneCache:
    """Draw the first ``count`` scenes of a split, or open what an earlier run drew.

    Args:
        folder: Where the cache lies; it is made.
        world: The family's world.
        split: Whose scenes.
        count: How many, 1 or more.
        resolution: Side in pixels.

    Returns:
        The scenes; their pictures stay on the disk, (count, 3, resolution, resolution) uint8.

    Raises:
        ValueError: The folder holds scenes of another world or resolution, or not as many captions as pictures.
        OSError: The disk is full or the folder cannot be written.
    """
    name = f"{split}_{count}"
    pixels_file, captions_file, recipe_file = (folder / f"{name}.{kind}" for kind in ("npy", "txt", "json"))
    recipe = {"world": world.digest, "split": split, "count": count, "resolution": resolution}
    if recipe_file.exists():
        check_recipe(recipe_file, recipe, what="scenes", way_out=WAY_OUT)
    else:
        _draw_all(pixels_file, captions_file, world, split, count, resolution)
        write_recipe(recipe_file, recipe)  # last: it is there only if all else is
    captions = tuple(captions_file.read_text(encoding="utf-8").split("\n"))
    if len(captions) != count:
        raise ValueError(
            f"{captions_file}: {len(captions)} captions, {count} are expected, one per scene; delete {recipe_file} "
            "to draw the scenes anew"
        )
    return SceneCache(np.load(pixels_file, mmap_mode="r"), captions)


def _draw_all(
    pixels_file: Path, captions_file: Path, world: World, split: Split, count: int, resolution: int
) -> None:
    captions: list[str] = []

    def write(beside: Path) -> None:
        shape = (count, 3, resolution, resolution)
        pixels = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
        for index in tqdm(range(count), desc=f"{split} scenes", unit="scene"):
            drawn = scene(world, split, index)
            pixels[index] = draw(drawn, resolution).transpose(2, 0, 1)
            captions.append(drawn.caption)
        pixels.flush()

    save_atomically(pixels_file, write)
    text = "\n".join(captions)
    save_atomically(captions_file, lambda beside: beside.write_text(text, encoding="utf-8"))
