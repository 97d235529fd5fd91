"""CLIP score and FID of a row's pictures, by encoders that the generator never saw.

Both use the CLIP of `training.evaluation.metric_clip`: the CLIP score is the cosine of caption and picture (Hessel et
al. 2021, without their factor and clipping), FID the Frechet distance between the embeddings of a row's pictures and of
the drawn scenes (Heusel et al. 2017), computed by torchmetrics. With other encoders than Inception it is not
comparable with FIDs of the literature; rows are comparable with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.render import Pixels
from training.family.text_tower import TextTower, load_text_tower

BATCH = 256


class _Given(nn.Module):
    """Features that are there already, in the shape that torchmetrics asks for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


@dataclass(frozen=True)
class Fidelity:
    """Measures pictures."""

    tower: TextTower

    @classmethod
    def load(cls, folder: Path) -> Fidelity:
        """Read the CLIP.

        Raises:
            FileNotFoundError: It is not there; the message holds the command that makes it.
        """
        try:
            return cls(load_text_tower(folder))
        except FileNotFoundError as error:
            command = f"python -m training.evaluation.metric_clip --config training/configs/emoji.toml --out {folder}"
            raise FileNotFoundError(
                f"no CLIP to measure with in {folder}; make it with: {command}"
            ) from error

    @torch.no_grad()
    def embed(self, pictures: Pixels) -> Tensor:
        """Embed pictures (N, H, W, 3) uint8 as (N, E) float32, of length 1."""
        parts = []
        for first in range(0, len(pictures), BATCH):
            pixels = torch.from_numpy(pictures[first : first + BATCH].astype(np.float32) / 127.5 - 1)
            parts.append(self.tower.encode_image(pixels.permute(0, 3, 1, 2).contiguous()))
        return torch.cat(parts)

    @torch.no_grad()
    def clip_scores(self, captions: Sequence[str], embedded: Tensor) -> NDArray[np.float64]:
        """Cosine of each caption with its picture, (N,) float64 in [-1, 1].

        Args:
            captions: N of them.
            embedded: (N, E), from `embed`.
        """
        texts = torch.cat(
            [
                self.tower.encode(list(captions[first : first + BATCH]))[1]
                for first in range(0, len(captions), BATCH)
            ]
        )
        return np.asarray((texts * embedded).sum(dim=1).double().numpy())

    def fid(self, embedded: Tensor, real: Tensor) -> float:
        """Frechet distance between two sets of embedded pictures, (N, E) each; times 100, since they have length 1."""
        return 100 * frechet_distance(embedded, real)


def frechet_distance(features: Tensor, real: Tensor) -> float:
    """Frechet distance between the Gaussians of two sets of features, by torchmetrics (Heusel et al. 2017, eq. 6).

    Args:
        features: (N, D) float32, two or more of them.
        real: (M, D) float32, two or more of them.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    # With num_features it needs no trial picture.
    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]))
    metric.update(real, real=True)
    metric.update(features, real=False)
    return float(metric.compute())
