"""What becomes of a setting's references: whether they show what is asked for, and whether it gets drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.evaluation.drawing import draw_in_one_step
from training.evaluation.judge import Judge, object_recall
from training.evaluation.references import PromptReferences, read_features
from training.ladd.masking import Masker

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.data.scene import Scene
    from training.data.world import World
    from training.family.folder import Family
    from training.ladd.library import ReferenceFeatures, TrainingLibrary
    from training.models.adapter import HSpaceAdapter

FIRST_SEED = 1 << 43
"""Scene i is drawn from the noise of seed 2^43 + i: neither training nor the benchmark uses it."""
BATCH = 32


def found_things(
    library: TrainingLibrary, masker: Masker, world: World, scenes: Sequence[Scene], rows: PromptReferences
) -> dict[str, float]:
    """Of the things that prompts ask for, the share that one of their references shows.

    Args:
        library: What was searched.
        masker: Finds names in its captions.
        world: Says how often training shows a thing.
        scenes: What is asked for.
        rows: Their references.

    Returns:
        By frequency in training, and ``all``; and ``of_references``: the share of the references that show one of the
        prompt's things.
    """
    shown = [frozenset(masker.found(caption)) for caption in library.captions]
    hits: dict[str, list[bool]] = defaultdict(list)
    for scene, row, weight in zip(scenes, rows.rows, rows.weights, strict=True):
        seen = [shown[entry] for entry in row[weight > 0]]
        hits["of_references"] += [bool(entry.intersection(scene.concepts)) for entry in seen]
        for name in scene.concepts:
            is_found = any(name in entry for entry in seen)
            hits["all"].append(is_found)
            hits[world.frequency(name)].append(is_found)
    return {kind: sum(values) / len(values) for kind, values in hits.items() if values}


@dataclass(frozen=True)
class Drawing:
    """Draws scenes with an adapter and lets the judge look."""

    family: Family
    judge: Judge
    scenes: tuple[Scene, ...]

    def recall(
        self,
        unet: UNet2DConditionModel,
        adapter: HSpaceAdapter | None,
        features: ReferenceFeatures | None,
        references: PromptReferences | None,
    ) -> dict[str, float]:
        """Object recall of the scenes, as `training.evaluation.judge.object_recall`.

        Args:
            unet: The one-step U-Net.
            adapter: None: no references.
            features: Of the library that the references are rows of.
            references: One row per scene.
        """
        parts = []
        for first in range(0, len(self.scenes), BATCH):
            numbers = list(range(first, min(first + BATCH, len(self.scenes))))
            reference_h = reference_weight = None
            if features is not None and references is not None:
                reference_h = read_features(features, references.rows[numbers])
                reference_weight = torch.from_numpy(references.weights[numbers])
            prompts = [self.scenes[number].caption for number in numbers]
            seeds = [FIRST_SEED + number for number in numbers]
            parts.append(
                draw_in_one_step(
                    self.family,
                    unet,
                    prompts,
                    seeds,
                    adapter=adapter,
                    reference_h=reference_h,
                    reference_weight=reference_weight,
                )
            )
        return object_recall(self.judge, np.concatenate(parts), self.scenes)
