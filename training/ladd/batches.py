"""Deals the batches: which pairs, which references, what is masked. All of it depends on the step alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training.ladd.config import MaskingConfig, RetrievalConfig
from training.ladd.library import TrainingLibrary
from training.ladd.masking import Masker
from training.ladd.neighbours import Neighbours
from training.ladd.pairs import Pairs

References = Literal["right", "wrong", "none"]

_TRIES = (
    64  # random entries looked at before one that shows a thing of the prompt is taken as a wrong reference
)


@dataclass(frozen=True)
class Batch:
    """B pairs with K references each."""

    prompts: tuple[str, ...]
    """What the target shows."""
    shown: tuple[str, ...]
    """What the student reads: the prompt, or the prompt with made-up names."""
    noise: Tensor
    """(B, c, h, w) float32."""
    target: Tensor
    """(B, c, h, w) float32, the teacher's latents, or those of a real picture."""
    rows: Tensor
    """(B, K) int64 library entries; any entry where the weight is 0."""
    weights: Tensor
    """(B, K) float32 lambdas in [0, 1]; 0 = no reference there."""
    changed: dict[tuple[int, int], str]
    """Masked captions by (place in the batch, place among its references)."""
    indices: tuple[int, ...]
    """Which pairs they are."""

    @property
    def is_masked(self) -> Tensor:
        """(B,) bool: which prompts hold a made-up name."""
        return torch.tensor([one != other for one, other in zip(self.prompts, self.shown, strict=True)])


class Batcher:
    """Makes batches of pairs.

    Args:
        pairs: What to learn from.
        neighbours: The pairs' neighbours in the library.
        library: The entries.
        masker: Finds and replaces names.
        retrieval: How many references, how often none or wrong ones.
        masking: How often names are masked.
        fresh_noise: Amplitude of new noise that is mixed into the noise of real pairs in training, in [0, 1).
        seed: Everything random is drawn from it.
        retrieves: False: no references and no masking (the LoRA-only control: a masked prompt without
            references asks for what nobody can know).
    """

    def __init__(
        self,
        pairs: Pairs,
        neighbours: Neighbours,
        library: TrainingLibrary,
        masker: Masker,
        *,
        retrieval: RetrievalConfig,
        masking: MaskingConfig,
        fresh_noise: float = 0.0,
        seed: int,
        retrieves: bool = True,
    ) -> None:
        self.pairs, self.neighbours, self.library = pairs, neighbours, library
        self.masker = masker
        self.retrieval, self.masking, self.seed, self.retrieves = retrieval, masking, seed, retrieves
        self.fresh_noise = fresh_noise
        self._shown_in = [frozenset(masker.found(caption)) for caption in library.captions]

    def training(self, step: int, size: int) -> Batch:
        """Deal the batch of a step: every pair once an epoch, in an order that changes with the epoch.

        Args:
            step: Counted from 0.
            size: B.
        """
        random = np.random.default_rng([self.seed, step])
        indices = _epoch_slice(len(self.pairs), step, size, self.seed)
        kinds, counts = self._deal_references(random, size)
        # Without its own references nobody can know what a made-up name stands for.
        masked = (random.random(size) < self.masking.share) & np.array([kind == "right" for kind in kinds])
        batch = self._assemble(indices, kinds, counts, masked, random, own_weights=True)
        return replace(batch, noise=self._freshen(batch.noise, indices, step))

    def held_out(self, indices: list[int], references: References, *, masked: bool, seed: int) -> Batch:
        """Make a batch to measure on: K references of one kind for all, the same names masked for each kind.

        Wrong references show none of the prompt's things and carry the weights of the right ones: what is
        compared is what they show, not how much they count.

        Args:
            indices: Which pairs.
            references: Of which kind.
            masked: Whether names are masked.
            seed: Names and wrong references are drawn from it.
        """
        random = np.random.default_rng([self.seed, seed])
        kinds: list[References] = [references] * len(indices)
        counts = np.full(len(indices), self.retrieval.references)
        return self._assemble(
            indices, kinds, counts, np.full(len(indices), masked), random, own_weights=False
        )

    def _deal_references(self, random: np.random.Generator, size: int) -> tuple[list[References], np.ndarray]:
        draw, drop, wrong = random.random(size), self.retrieval.drop_share, self.retrieval.wrong_share
        kinds: list[References] = [
            "none" if d < drop else "wrong" if d < drop + wrong else "right" for d in draw
        ]
        return kinds, random.integers(1, self.retrieval.references + 1, size)

    def _assemble(
        self,
        indices: list[int],
        kinds: list[References],
        counts: np.ndarray,
        masked: np.ndarray,
        random: np.random.Generator,
        *,
        own_weights: bool,
    ) -> Batch:
        prompts = tuple(self.pairs.prompts[index] for index in indices)
        # Words first: so the same names are masked whatever references follow.
        words = [
            self.masker.choose(prompt, random) if hide and self.retrieves else {}
            for prompt, hide in zip(prompts, masked, strict=True)
        ]
        width = self.retrieval.references
        rows = torch.zeros(len(indices), width, dtype=torch.int64)
        weights = torch.zeros(len(indices), width)
        for place, index in enumerate(indices):
            if kinds[place] == "none" or not self.retrieves:
                continue
            their_rows, cosines = self.neighbours.rows[index, :width], self.neighbours.cosines[index, :width]
            if kinds[place] == "wrong":
                their_rows = self._wrong_rows(prompts[place], random)
                if own_weights:
                    cosines = self.library.keys[their_rows] @ self.neighbours.prompt_keys[index]
            rows[place] = their_rows.clamp(min=0)
            weights[place] = self.neighbours.weights(cosines) * (their_rows >= 0)
            weights[place, int(counts[place]) :] = 0
        return Batch(
            prompts=prompts,
            shown=tuple(self.masker.mask(prompt, own) for prompt, own in zip(prompts, words, strict=True)),
            noise=self.pairs.noise(indices),
            target=self.pairs.latents[indices],
            rows=rows,
            weights=weights,
            changed=self._changed_captions(rows, weights, words),
            indices=tuple(indices),
        )

    def _freshen(self, noise: Tensor, indices: list[int], step: int) -> Tensor:
        """Mix new noise into that of real pairs, at the same variance; the control's is the same."""
        random = np.random.default_rng([self.seed, 1 << 33, step])
        fresh = torch.from_numpy(random.standard_normal(noise.shape, dtype=np.float32))
        mixed = (1 - self.fresh_noise**2) ** 0.5 * noise + self.fresh_noise * fresh
        return torch.where(self.pairs.is_real(indices).reshape(-1, 1, 1, 1), mixed, noise)

    def _wrong_rows(self, prompt: str, random: np.random.Generator) -> Tensor:
        """Random entries that show nothing of what the prompt names."""
        names = set(self.masker.found(prompt))
        rows = random.integers(len(self.library), size=self.retrieval.references * _TRIES)
        wrong = [row for row in rows.tolist() if not names & self._shown_in[row]]
        return torch.tensor((wrong + rows.tolist())[: self.retrieval.references])

    def _changed_captions(
        self, rows: Tensor, weights: Tensor, words: list[dict[str, str]]
    ) -> dict[tuple[int, int], str]:
        changed = {}
        for place, own in enumerate(words):
            for number, row in enumerate(rows[place].tolist()):
                if weights[place, number] > 0 and self._shown_in[row] & own.keys():
                    changed[place, number] = self.masker.mask(self.library.captions[row], own)
        return changed


def _epoch_slice(total: int, step: int, size: int, seed: int) -> list[int]:
    """The pairs of a step: slices of one permutation an epoch; what does not fill a batch is left out."""
    per_epoch = total // size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, 1 << 32, epoch]).permutation(total)
    indices: list[int] = order[place * size : (place + 1) * size].tolist()
    return indices
