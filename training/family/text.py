"""Trains the text tower against pictures, as CLIP does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.family.config import FamilyConfig
from training.family.loop import train
from training.family.nearest import save_nearest
from training.family.scene_cache import SceneCache
from training.family.shapes import clip_config
from training.family.text_tower import TextTower, new_text_tower
from training.precision import autocast

MAX_LOGIT_SCALE = 4.6052  # ln 100, as CLIP clamps it


def train_text_tower(config: FamilyConfig, scenes: SceneCache, held_out: SceneCache, work: Path) -> TextTower:
    """Train both towers with CLIP's symmetric contrastive loss (Radford et al. 2021, figure 3).

    Args:
        config: Shapes and training.
        scenes: Pictures and captions.
        held_out: Others, for the grid.
        work: Folder for the checkpoint and the grids.

    Returns:
        The tower, in eval mode.
    """
    torch.manual_seed(config.seed)
    tower = new_text_tower(clip_config(config.text, config.resolution))
    input_ids, eos_index = tower.tokenize(list(scenes.captions))
    input_ids = input_ids[
        :, : int(eos_index.max()) + 1
    ]  # keys do not depend on the padding: attention is causal

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (config.text.batch,), generator=generator)
        pixels = torch.from_numpy(scenes.batch(rows.numpy()))
        with autocast():
            _, texts = tower(input_ids[rows], eos_index[rows])
            images = tower.encode_image(pixels)
        return contrastive_loss(texts.float(), images.float(), tower.clip.logit_scale)

    train(
        tower, loss_of, name="text tower", steps=config.text.steps, learning_rate=config.text.learning_rate,
        decay_share=0.6, checkpoint=work / "text.pt", weight_decay=0.05,
        sample=lambda _, step: save_nearest(work / f"text_{step:06d}.png", tower, held_out),
    )  # fmt: skip
    return tower.eval().requires_grad_(False)


def contrastive_loss(texts: Tensor, images: Tensor, logit_scale: Tensor) -> Tensor:
    """The mean of both directions' cross-entropies.

    Args:
        texts: (B, E), of length 1.
        images: (B, E), of length 1; row i belongs to text i.
        logit_scale: Logarithm of the inverse temperature, a scalar.
    """
    logits = texts @ images.T * logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()  # (B, B)
    labels = torch.arange(len(logits))
    return (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)) / 2


@torch.inference_mode()
def in_batch_accuracy(tower: TextTower, scenes: SceneCache, count: int = 1024, batch: int = 256) -> float:
    """How often a caption finds its picture among a batch of held-out ones, in [0, 1]."""
    hits = []
    for start in range(0, count, batch):
        rows = np.arange(start, start + batch)
        _, texts = tower.encode([scenes.captions[row] for row in rows])
        images = tower.encode_image(torch.from_numpy(scenes.batch(rows)))
        hits.append((texts @ images.T).argmax(dim=1).eq(torch.arange(batch)).float().mean())
    return float(torch.stack(hits).mean())
