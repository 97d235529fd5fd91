"""The training scenes, drawn once and memory-mapped: every stage reads the same pictures and captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.data.render import draw
from training.data.splits import scene
from training.data.world import Split, World


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
        count: How many.
        resolution: Side in pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixels_file, captions_file = folder / f"{split}_{count}.npy", folder / f"{split}_{count}.txt"
    if not captions_file.exists():
        _draw_all(pixels_file, captions_file, world, split, count, resolution)
    captions = tuple(captions_file.read_text(encoding="utf-8").split("\n"))
    return SceneCache(np.load(pixels_file, mmap_mode="r"), captions)


def _draw_all(
    pixels_file: Path, captions_file: Path, world: World, split: Split, count: int, resolution: int
) -> None:
    """The captions are written last: they are there only if all pictures are."""
    shape = (count, 3, resolution, resolution)
    pixels = np.lib.format.open_memmap(pixels_file, mode="w+", dtype=np.uint8, shape=shape)
    captions = []
    for index in tqdm(range(count), desc=f"{split} scenes", unit="scene"):
        drawn = scene(world, split, index)
        pixels[index] = draw(drawn, resolution).transpose(2, 0, 1)
        captions.append(drawn.caption)
    pixels.flush()
    captions_file.write_text("\n".join(captions), encoding="utf-8")
