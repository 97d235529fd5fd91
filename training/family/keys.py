"""Teaches the retrieval keys what a name is, so that a new name finds its own pictures.

CLIP's loss only ever sees the names of the training scenes: a rare name, or one that nobody knows yet, leaves hardly
a trace in the key. Here an object phrase must find, among the captions of a batch, those that name the same things, and
in most captions the names are made up, afresh each time, so that the words themselves have to be compared. Only the
last layer and the projection are trained: the U-Net is conditioned by the last but one layer, which stays bit for bit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ragturbo_runtime.phrases import split_phrases
from training.family.config import FamilyConfig
from training.family.loop import train
from training.family.nearest import image_keys
from training.family.scene_cache import SceneCache
from training.family.text_tower import TextTower
from training.ladd.masking import Masker
from training.ladd.strangers import masker_of

MASKED_SHARE = 0.6
PHRASE_SHARE = 0.8
PHRASE_SCALE = 20.0  # inverse temperature of phrases against captions
PICTURE_WEIGHT = 0.3
PICTURES = 8000


def tune_keys(config: FamilyConfig, tower: TextTower, scenes: SceneCache, work: Path) -> TextTower:
    """Train the tower's last layer and projection.

    Args:
        config: The family's; ``text.keys_steps`` and ``text.keys_batch`` count.
        tower: A trained tower; changed in place.
        scenes: Training pictures and captions; the first `PICTURES` are used.
        work: Folder for the checkpoint.

    Returns:
        The tower, in eval mode, frozen.
    """
    masker, batch = masker_of(config.world), config.text.keys_batch
    captions = scenes.captions[:PICTURES]
    picture_keys = image_keys(tower, scenes, len(captions))
    clip = tower.requires_grad_(False).clip
    clip.transformer.resblocks[-1].requires_grad_(True)
    clip.text_projection.requires_grad_(True)
    scale = float(clip.logit_scale.exp().clamp(max=100.0))

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        random = np.random.default_rng([step, 7])
        rows = random.choice(len(captions), batch, replace=False)
        asked = [_ask(captions[row], masker, random) for row in rows]
        keys = _keys(tower, [one.caption for one in asked] + [one.query for one in asked])
        answers = torch.tensor([[one.wanted <= other.named for other in asked] for one in asked]).float()
        answers.fill_diagonal_(1.0)
        logits = PHRASE_SCALE * keys[batch:] @ keys[:batch].T
        plain = torch.tensor([one.is_plain for one in asked])
        loss = _soft_entropy(logits, answers) + _soft_entropy(logits.T, answers.T)
        if plain.any():  # a made-up name is in no picture
            pictures = scale * keys[:batch][plain] @ picture_keys[rows][plain].T
            loss = loss + PICTURE_WEIGHT * _both(pictures)
        return loss

    train(
        tower, loss_of, name="keys", steps=config.text.keys_steps, learning_rate=config.text.learning_rate,
        decay_share=0.5, checkpoint=work / "keys.pt",
    )  # fmt: skip
    return tower.eval().requires_grad_(False)


class _Asked:
    """A caption, a query for it, and the names in both, all after masking."""

    def __init__(
        self, caption: str, query: str, named: set[str], wanted: set[str], *, is_plain: bool
    ) -> None:
        self.caption, self.query, self.named, self.wanted, self.is_plain = (
            caption,
            query,
            named,
            wanted,
            is_plain,
        )


def _ask(caption: str, masker: Masker, random: np.random.Generator) -> _Asked:
    words = masker.choose(caption, random) if random.random() < MASKED_SHARE else {}
    query = caption
    phrases = split_phrases(caption)
    if phrases and random.random() < PHRASE_SHARE:
        query = phrases[int(random.integers(len(phrases)))]
    named, wanted = ({words.get(name, name) for name in masker.found(text)} for text in (caption, query))
    return _Asked(masker.mask(caption, words), masker.mask(query, words), named, wanted, is_plain=not words)


def _keys(tower: TextTower, texts: list[str]) -> Tensor:
    """(B, E) keys, of length 1, at the length of the longest text; gradients reach the last layer alone."""
    input_ids, eos_index = tower.tokenize(texts)
    keys: Tensor = tower(input_ids[:, : int(eos_index.max()) + 1], eos_index)[1]
    return keys


def _soft_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy with all right answers sharing the mass."""
    shares = answers / answers.sum(dim=1, keepdim=True)
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _both(logits: Tensor) -> Tensor:
    labels = torch.arange(len(logits))
    return (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)) / 2
