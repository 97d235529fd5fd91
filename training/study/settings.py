"""The settings that a study compares: the default, and what differs from it in one choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

from training.ladd.config import LaddConfig
from training.ladd.queries import Ask

Caption = Literal["caption", "empty"]
Encoder = Literal["student", "teacher"]
Weighing = Literal["calibrated", "cosine", "one"]


@dataclass(frozen=True)
class Setting:
    """One value for every choice."""

    reference_timestep: int
    """Timestep in [0, N) at which reference features are taken."""
    reference_caption: Caption
    """Prompt that they are taken with."""
    encoder: Encoder
    """Whose bottleneck they are."""
    reference_pool: int
    """Side of the square of h-space cells that one token stands for."""
    queries: Ask
    """What a prompt is looked up by."""
    masking_share: float
    """Share of the prompts with made-up names, in training."""
    weighing: Weighing
    """lambda: the calibrated cosine, the cosine itself as in the paper, or 1."""
    seed: int = 0
    """Of the adapter's first weights and of the batches."""


@dataclass(frozen=True)
class Questions:
    """Values to compare, by choice; the default's own is always among them."""

    reference_timestep: tuple[int, ...] = ()
    reference_caption: tuple[Caption, ...] = ()
    encoder: tuple[Encoder, ...] = ()
    reference_pool: tuple[int, ...] = ()
    queries: tuple[Ask, ...] = ()
    masking_share: tuple[float, ...] = ()
    weighing: tuple[Weighing, ...] = ()


CHOICES = tuple(field.name for field in fields(Questions))


def default_of(ladd: LaddConfig) -> Setting:
    """What a run with this config does."""
    return Setting(
        reference_timestep=ladd.retrieval.reference_timestep,
        reference_caption=ladd.retrieval.reference_caption,
        encoder="student",
        reference_pool=ladd.retrieval.reference_pool,
        queries="both",
        masking_share=ladd.masking.share,
        weighing="calibrated",
        seed=ladd.seed,
    )


def asked(default: Setting, questions: Questions) -> Iterator[tuple[str, Setting]]:
    """Go through what is asked for: each choice with its settings, the default's own value first."""
    for choice in CHOICES:
        values = getattr(questions, choice)
        own = getattr(default, choice)
        for value in (own, *(value for value in values if value != own)) if values else ():
            yield choice, replace(default, **{choice: value})


def to_train(default: Setting, questions: Questions, seeds: int) -> list[Setting]:
    """Every setting once: the default, with each of some seeds, then the others in the order of the questions."""
    repeated = [replace(default, seed=default.seed + number) for number in range(seeds)]
    return list(dict.fromkeys([*repeated, *(setting for _, setting in asked(default, questions))]))


def configured(ladd: LaddConfig, setting: Setting) -> LaddConfig:
    """A run's config with a setting's values.

    Raises:
        ValueError: No run can use one of them; names it.
    """
    retrieval = replace(
        ladd.retrieval,
        reference_timestep=setting.reference_timestep,
        reference_caption=setting.reference_caption,
        reference_pool=setting.reference_pool,
    )
    return replace(ladd, retrieval=retrieval, masking=replace(ladd.masking, share=setting.masking_share))
