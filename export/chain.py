"""The whole chain, torch against the bundle as the runtime runs it: small differences can add up.

The torch side starts from the same prompts and noise, and from the references that the runtime chose. It
encodes those references itself, from their pictures, so that the library's features are compared too; but not
where torch has made the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ParityError
from export.models import Models
from export.parity import max_abs_diff, psnr_db
from export.wrappers import VaeEncoderGraph
from ragturbo_runtime.arrays import Pixels, Scale
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.collection.entry import Entry
from ragturbo_runtime.image import to_pixels
from ragturbo_runtime.indexing.encoder import to_model
from ragturbo_runtime.library.feature_rows import encode_features, reference_tokens
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import Reference
from ragturbo_runtime.manifest import Parity
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest, DrawResult
from ragturbo_runtime.sampler import Schedule
from training.models.split_unet import decode, encode

CHAIN_MIN_PSNR_DB = 45.0
"""Needed of the pictures; equal pictures have no limit."""
_SMALL_LATENTS = 32 * 32
_SMALL_CASES = ((1, 1, True), (3, 1, True), (3, 1, False), (1, 2, True))
_LARGE_CASES = ((2, 1, True), (1, 2, False))
"""Pictures, steps, with references: a picture of SD-Turbo's takes two cores half a minute on both sides together."""
_LARGE_REFERENCES = 2
"""At most: torch encodes each anew, some ten seconds of SD-Turbo's."""
_PROMPTS = ("a cat left of two pizzas on a blue background", "a big dog at the beach", "a guitar")


def load_on_cpu(bundle: Bundle) -> Pipeline:
    """Open a bundle as a user without a GPU does."""
    return Pipeline.load(bundle, device="cpu")


def compare_chain(
    bundle: Path,
    models: Models,
    entries: Sequence[Entry],
    *,
    load: Callable[[Bundle], Pipeline] = load_on_cpu,
    minimum: float = CHAIN_MIN_PSNR_DB,
    torch_made_library: bool = False,
) -> Parity:
    """Draw with the runtime and with torch: alone and in a batch, with and without references, one step and two.

    Args:
        bundle: The bundle's folder, complete but for the chain's parity.
        models: What it was made from.
        entries: Its library's pictures, in order; empty without a library.
        load: Opens the bundle to draw with it.
        minimum: How near the pictures must come, dB.
        torch_made_library: Whether the library's features are torch's own; they are then taken as they are.

    Returns:
        The worst of all pictures: PSNR in dB of the 8-bit pixels, and the largest difference in 8-bit levels.

    Raises:
        ParityError: A picture is further off than the minimum.
        RagTurboError: The runtime refuses the bundle, or cannot draw.
    """
    is_small = models.latent_cells <= _SMALL_LATENTS
    most = models.metadata.references if is_small else _LARGE_REFERENCES
    references = min(most, models.metadata.references) if entries else 0
    opened = Bundle.load(bundle, verify="full")
    requests = [
        DrawRequest(_PROMPTS[:count], tuple(range(count)), steps=steps, references=references if used else 0)
        for count, steps, used in (_SMALL_CASES if is_small else _LARGE_CASES)
    ]
    with load(opened) as pipeline:
        drawn = [pipeline.draw(request) for request in requests]
        scale = None if pipeline.library is None else pipeline.library.scale.copy()
        encoded = _stored(pipeline.library, drawn) if torch_made_library else {}
    # Closed by now: at SD-Turbo's size both sides at once would take twice the memory.
    chain = _TorchChain(models, entries, scale, encoded)
    differences, ratios = [], []
    for request, ours in zip(requests, drawn, strict=True):
        theirs = chain.draw(request, ours.references)
        differences.append(max_abs_diff(ours.images, theirs))
        ratios.append(psnr_db(ours.images, theirs))
    worst = float(np.min(ratios))
    if not worst >= minimum:
        raise ParityError("chain", max_abs_diff=float(np.max(differences)), atol=None, psnr_db=worst)
    return Parity(max_abs_diff=float(np.max(differences)), psnr_db=worst, atol=None)


def _stored(library: Library | None, drawn: Sequence[DrawResult]) -> dict[int, NDArray[np.float32]]:
    """(T, C) features of the references that were used, by row, as the library holds them."""
    if library is None:
        return {}
    rows = sorted({reference.row for one in drawn for own in one.references for reference in own})
    return dict(zip(rows, library.features(rows) * library.scale, strict=True)) if rows else {}


class _TorchChain:
    """Prompts to pixels with the torch modules."""

    def __init__(
        self,
        models: Models,
        entries: Sequence[Entry],
        scale: Scale | None,
        encoded: dict[int, NDArray[np.float32]],
    ) -> None:
        self._models, self._entries, self._scale = models, entries, scale
        self._schedule = Schedule.from_manifest(models.family.scheduler)
        self._encoded = encoded  # by row: most draws use the same few references

    @torch.inference_mode()
    def draw(self, request: DrawRequest, references: list[list[Reference]]) -> Pixels:
        """(B, H, W, 3) uint8."""
        prompt_embeds, _ = self._models.family.text.encode(list(request.prompts))
        features, weights = self._features(references)
        timesteps = self._schedule.timesteps(request.steps)
        noise = batch_noise(request.seeds, self._models.latent_shape)
        sample = self._schedule.initial_sample(noise, timesteps[0])
        for timestep, following in zip(timesteps, (*timesteps[1:], None), strict=True):
            output = self._predict(torch.from_numpy(sample), timestep, prompt_embeds, features, weights)
            sample = self._schedule.step(sample, output.numpy(), timestep, following)
        return to_pixels(self._models.vae_decoder(torch.from_numpy(sample)).numpy())

    def _predict(
        self, sample: Tensor, timestep: int, prompt_embeds: Tensor, features: Tensor | None, weights: Tensor
    ) -> Tensor:
        unet = self._models.family.unet
        h, skips = encode(unet, sample, timestep, prompt_embeds)
        if features is not None:
            h = self._models.adapter.inject(h, features, weights)
        return decode(unet, h, skips, timestep, prompt_embeds)

    def _features(self, references: list[list[Reference]]) -> tuple[Tensor | None, Tensor]:
        """(B, K, T, C) features as the library holds them, (B, K) weights, 0 where a picture has fewer references."""
        most = max(len(own) for own in references)
        weights = np.zeros((len(references), most), np.float32)
        if most == 0:
            return None, torch.from_numpy(weights)
        metadata = self._models.metadata
        features = np.zeros((len(references), most, metadata.tokens, metadata.channels), np.float32)
        for i, own in enumerate(references):
            if not own:
                continue
            weights[i, : len(own)] = [reference.weight for reference in own]
            features[i, : len(own)] = self._encode([reference.row for reference in own])
        return torch.from_numpy(features), torch.from_numpy(weights)

    def _encode(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(K, T, C) features of pictures, rounded as the library's are."""
        if missing := [row for row in dict.fromkeys(rows) if row not in self._encoded]:
            made = self._encode_pictures([self._entries[row] for row in missing])
            self._encoded |= dict(zip(missing, made, strict=True))
        return np.stack([self._encoded[row] for row in rows])

    def _encode_pictures(self, entries: Sequence[Entry]) -> NDArray[np.float32]:
        family, metadata = self._models.family, self._models.metadata
        captions = [entry.caption if metadata.reference_caption == "caption" else "" for entry in entries]
        prompt_embeds, _ = family.text.encode(captions)
        pixels = torch.from_numpy(to_model([entry.read(family.resolution) for entry in entries]))
        latents = VaeEncoderGraph(family.vae)(pixels)
        h, _ = encode(family.unet, latents, metadata.reference_timestep, prompt_embeds)
        assert self._scale is not None  # without a library there are no references
        tokens = reference_tokens(h.numpy(), metadata.reference_pool)
        return encode_features(tokens, self._models.feature_codec, self._scale) * self._scale
