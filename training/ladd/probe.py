"""python -m training.ladd.probe: what do reference features know about what a picture shows?

A linear probe reads the names of the things from the bottleneck's tokens, for each reference timestep, kind of
caption and encoder. "masked" is what an adapter lives on: made-up names in the caption, so that the picture alone can
tell. Choose the [retrieval] settings of a run by it: it takes minutes, a training run takes hours.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from training.ladd.library import TrainingLibrary, bottleneck_tokens
from training.ladd.masking import Masker

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.family.text_tower import TextTower

Captions = Literal["caption", "masked", "empty"]

RIDGE = 10.0
"""Penalty of the probe's weights; the features are brought to unit variance first."""
TRAINED_SHARE = 0.75


@dataclass(frozen=True)
class ProbeResult:
    """How well names are read from features."""

    encoder: str
    timestep: int
    captions: Captions
    recall: float
    """Of the m things that a held-out picture shows, the share among the probe's first m guesses; mean, in [0, 1]."""


def probe(tokens: Tensor, shown: Tensor) -> float:
    """Fit a ridge regression on three quarters of the pictures, read the others.

    Args:
        tokens: (N, T, C) float32, features.
        shown: (N, M) float32, 1 where a picture shows a thing, else 0.

    Returns:
        Recall as in `ProbeResult`.
    """
    features = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), tokens.amin(dim=1)], dim=1).double()
    split = int(len(features) * TRAINED_SHARE)
    mean, deviation = features[:split].mean(dim=0), features[:split].std(dim=0).clamp(min=1e-6)
    unit = (features - mean) / deviation
    labels = shown.double() - shown[:split].double().mean(dim=0)
    gram = unit[:split].T @ unit[:split] + RIDGE * torch.eye(unit.shape[1], dtype=torch.float64)
    guesses = unit[split:] @ torch.linalg.solve(gram, unit[:split].T @ labels[:split])
    order, truth = guesses.argsort(dim=1, descending=True), shown[split:].bool()
    counts = truth.sum(dim=1)
    ranked = truth.gather(1, order)
    first = torch.arange(truth.shape[1]) < counts.unsqueeze(1)
    recall = (ranked & first).sum(dim=1) / counts.clamp(min=1)
    return float(recall[counts > 0].mean())


def probe_features(
    encoders: dict[str, UNet2DConditionModel],
    text: TextTower,
    library: TrainingLibrary,
    masker: Masker,
    *,
    timesteps: list[int],
    batch: int = 64,
) -> list[ProbeResult]:
    """Probe every combination of encoder, timestep and captions.

    Args:
        encoders: U-Nets by name.
        text: The family's text tower.
        library: Captioned pictures.
        masker: Finds the names, which are the labels, and hides them.
        timesteps: Reference timesteps in [0, N).
        batch: Pictures at a time.
    """
    results = []
    captions = {kind: captions_of(library, masker, kind) for kind in get_args(Captions)}
    shown = labels_of(library, masker)
    for name, unet in encoders.items():
        for timestep in timesteps:
            for kind, texts in captions.items():
                tokens = _tokens(unet, text, library.latents, texts, timestep, batch)
                results.append(ProbeResult(name, timestep, kind, probe(tokens, shown)))
    return results


@torch.no_grad()
def _tokens(
    unet: UNet2DConditionModel,
    text: TextTower,
    latents: Tensor,
    captions: list[str],
    timestep: int,
    batch: int,
) -> Tensor:
    parts = []
    for first in range(0, len(latents), batch):
        embeds, _ = text.encode(captions[first : first + batch])
        some = latents[first : first + batch].to(unet.device)
        parts.append(bottleneck_tokens(unet, some, embeds, timestep).cpu())
    return torch.cat(parts)


def captions_of(library: TrainingLibrary, masker: Masker, kind: Captions) -> list[str]:
    """A library's captions as they are, with all names made up, or empty; always the same."""
    if kind == "caption":
        return list(library.captions)
    if kind == "empty":
        return [""] * len(library)
    random = np.random.default_rng(0)
    return [
        masker.mask(caption, masker.words_for(masker.found(caption), random)) for caption in library.captions
    ]


def labels_of(library: TrainingLibrary, masker: Masker) -> Tensor:
    """(N, M) float32, 1 where an entry's caption names a thing."""
    names = sorted({name for caption in library.captions for name in masker.found(caption)})
    place = {name: number for number, name in enumerate(names)}
    shown = torch.zeros(len(library), len(names))
    for row, caption in enumerate(library.captions):
        shown[row, [place[name] for name in masker.found(caption)]] = 1.0
    return shown


def main() -> None:
    """Probe a family's student and teacher on its library, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m training.ladd.probe", description=__doc__)
    parser.add_argument("--family", type=Path, required=True, help="folder of the base family")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[0, 50, 100, 200, 400])
    parser.add_argument(
        "--encoders", nargs="+", choices=("student", "teacher"), default=("student", "teacher")
    )
    options = parser.parse_args()
    from training.family.folder import load_family, load_teacher
    from training.ladd.setup import encode_library
    from training.ladd.strangers import masker_of

    family = load_family(options.family)
    loaded = {"student": family.unet, "teacher": load_teacher(options.family)}
    library = encode_library(family, family.world)
    encoders = {name: loaded[name] for name in options.encoders}
    results = probe_features(
        encoders,
        family.text,
        library,
        masker_of(family.world),
        timesteps=options.timesteps,
    )
    print(f"{len(library)} pictures; share of the shown things that a linear probe names")  # noqa: T201
    for result in results:
        print(f"{result.encoder:8} t={result.timestep:<4} {result.captions:8} {result.recall:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
