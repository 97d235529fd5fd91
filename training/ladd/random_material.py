"""A run's material that nobody had to make: random latents under numbered captions, to measure what a step costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ragturbo_runtime.retriever import Calibration
from training.ladd.library import TrainingLibrary, encode_keys
from training.ladd.masking import Masker
from training.ladd.material import Material
from training.ladd.pairs import Pairs
from training.models.split_unet import latent_shape

if TYPE_CHECKING:
    from training.family.folder import Family
    from training.ladd.config import LaddConfig


def random_material(family: Family, *, pairs: int, entries: int) -> Material:
    """Make as many pairs and library entries as one step needs.

    Args:
        family: Gives the shape of the latents and the keys.
        pairs: Pairs to train on; as many are held out.
        entries: Library entries.

    Returns:
        Material in which every reference has lambda 1.
    """
    shape = latent_shape(family.unet)
    generator = torch.Generator().manual_seed(0)
    captions = tuple(f"thing number {number}" for number in range(entries))
    latents = torch.randn((entries, *shape), generator=generator)
    library = TrainingLibrary(captions, latents, encode_keys(family.text, captions))
    training = Pairs(
        tuple(f"a picture of thing number {number}" for number in range(pairs)),
        torch.arange(pairs),
        torch.randn((pairs, *shape), generator=generator),
    )
    certain = Calibration(-2.0, -1.0)  # below any cosine
    return Material(library, certain, training, training, None, Masker({"thing": "things"}))


def for_measuring(config: LaddConfig, batch: int) -> LaddConfig:
    """Change a run's config so that all steps cost the same: one batch of pairs, nothing dropped or masked, all losses.

    A masked pair costs more: its references are encoded anew with their made-up names.
    """
    return replace(
        config,
        pairs=replace(config.pairs, count=batch),
        retrieval=replace(config.retrieval, drop_share=0.0, wrong_share=0.0),
        masking=replace(config.masking, share=0.0),
        alignment=replace(config.alignment, steps=0),
        losses=replace(config.losses, adversarial_ramp=0),
        optimiser=replace(config.optimiser, batch=batch),
    )
