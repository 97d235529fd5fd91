"""Shows what a text tower finds: captions' nearest pictures, as a grid to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.family.grid import save_grid
from training.family.scene_cache import SceneCache
from training.family.text_tower import TextTower

CAPTIONS = 12
BEST = 4
SEARCHED = 1024
BATCH = 256


@torch.no_grad()
def image_keys(tower: TextTower, scenes: SceneCache, count: int) -> Tensor:
    """What the image tower says of the first pictures of a cache.

    Args:
        tower: Text and image tower.
        scenes: The pictures, of the tower's resolution.
        count: How many, at most len(scenes).

    Returns:
        (count, E) float32, of length 1.
    """
    parts = [np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    return torch.cat([tower.encode_image(torch.from_numpy(scenes.batch(rows))) for rows in parts])


@torch.no_grad()
def nearest_pictures(tower: TextTower, scenes: SceneCache) -> Tensor:
    """The pictures that come nearest to the first captions.

    Args:
        tower: Text and image tower.
        scenes: Captions and pictures; the first `CAPTIONS` are asked for, the first `SEARCHED` are searched.

    Returns:
        (`BEST`, `CAPTIONS`) int64 rows of the cache, the nearest first; fewer where the cache is smaller.
    """
    _, texts = tower.encode(list(scenes.captions[:CAPTIONS]))
    cosines = texts @ image_keys(tower, scenes, min(SEARCHED, len(scenes))).T  # (captions, pictures)
    return cosines.topk(min(BEST, cosines.shape[1]), dim=1).indices.T


def save_nearest(path: Path, tower: TextTower, scenes: SceneCache) -> None:
    """Draw a column per caption: the picture that belongs to it on top, and below it those that it finds.

    Args:
        path: A PNG file; its folder is made.
        tower: Text and image tower; put into eval mode.
        scenes: Held-out captions and pictures.
    """
    found = nearest_pictures(tower.eval(), scenes).numpy()
    rows = np.concatenate([np.arange(found.shape[1]), found.ravel()])
    save_grid(path, torch.from_numpy(scenes.batch(rows)), columns=found.shape[1])
