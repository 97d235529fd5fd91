"""Measures one setting: aligns an adapter with it, and asks what it learnt."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from training.evaluation.drawing import with_lora
from training.evaluation.references import PromptReferences, find_references, reference_features
from training.ladd.alignment import Alignment
from training.ladd.batches import References
from training.ladd.gate import mean_and_error, pair_losses
from training.ladd.probe import captions_of, labels_of, probe
from training.parallel import Processes
from training.study.recall import found_things

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.data.world import World
    from training.ladd.batches import Batcher
    from training.ladd.library import ReferenceFeatures
    from training.ladd.setup import Parts
    from training.models.adapter import HSpaceAdapter
    from training.models.checkpoint import AdapterCheckpoint, AdapterMetadata
    from training.study.bench import Bench
    from training.study.memory import EncodedRows
    from training.study.recall import Drawing
    from training.study.settings import Setting

BATCH = 64


@dataclass
class Laboratory:
    """Everything that settings are measured with."""

    bench: Bench
    memory: EncodedRows
    drawing: Drawing
    world: World
    bundled: AdapterCheckpoint
    """The family's own adapter, trained to the end with the default setting."""

    def align(self, setting: Setting) -> dict[str, Any]:
        """Align an adapter with a setting and measure it.

        Returns:
            ``unknown`` and ``plain`` (smooth-L1 of the draft on held-out pairs, see `_losses`), ``right_losses`` (of
            every unknown pair), ``probe``, ``found``, ``recall`` and ``seconds`` of one core. The base's decoder hardly
            follows what an aligned adapter adds to h, so that the decoder with the bundled adapter's LoRA draws.
        """
        started = time.process_time()
        parts = self.bench.parts_of(setting)
        prepared = time.process_time()
        # Losses and settings as in a run; the steps' own measurements are left to the end.
        config = replace(self.bench.ladd.alignment, log_every=1 << 30)
        optimiser = self.bench.ladd.optimiser
        alignment = Alignment(
            config, parts, clip_norm=optimiser.clip_norm, processes=Processes(), encode=self.memory
        )
        alignment.run()
        aligned = time.process_time()
        assert parts.unknown is not None
        unknown, right = _losses(alignment, parts.unknown, masked=True)
        plain, _ = _losses(alignment, parts.held_out, masked=False)
        references = self._references(setting)
        measured = {
            "unknown": unknown,
            "plain": plain,
            "right_losses": [round(value, 6) for value in right.tolist()],
            "probe": self._probe(parts),
            "found": self._found(references),
            "recall": self.drawing.recall(
                self._bundled_parts[0], parts.student.adapter, parts.features, references
            ),
        }
        ended = time.process_time()
        seconds = {"prepare": prepared - started, "align": aligned - prepared, "measure": ended - aligned}
        return measured | {"seconds": {name: round(value, 1) for name, value in seconds.items()}}

    def draw_bundled(self, setting: Setting, kind: References) -> dict[str, Any]:
        """Draw with the family's own adapter, its references found and weighed by a setting.

        Args:
            setting: Its queries and its weighing count.
            kind: With which references.

        Returns:
            ``found`` (not for "none"), ``recall`` and ``seconds``.
        """
        started = time.process_time()
        unet, adapter, features = self._bundled_parts
        references = None if kind == "none" else self._references(setting, self.bundled.metadata)
        measured: dict[str, Any] = {} if references is None else {"found": self._found(references)}
        if kind == "wrong" and references is not None:
            references = references.of_other_prompts(seed=0)
            measured = {"found": self._found(references)}
        measured["recall"] = self.drawing.recall(unet, adapter, features, references)
        return measured | {"seconds": {"draw": round(time.process_time() - started, 1)}}

    @cached_property
    def _bundled_parts(self) -> tuple[UNet2DConditionModel, HSpaceAdapter, ReferenceFeatures]:
        family, library = self.drawing.family, self.bench.own_library
        features = reference_features(family, library, self.bundled.metadata)
        return with_lora(family, self.bundled), self.bundled.build_adapter(), features

    def _references(self, setting: Setting, trained: AdapterMetadata | None = None) -> PromptReferences:
        """What the drawn scenes' prompts find; with the calibration of a trained adapter, or with the study's."""
        metadata = trained or self.bundled.metadata
        if trained is None or setting.weighing != "calibrated":
            calibration = self.bench.calibration(setting.weighing)
            metadata = replace(metadata, similarity_low=calibration.low, similarity_high=calibration.high)
        if trained is None:
            metadata = replace(metadata, references=self.bench.ladd.retrieval.references)
        prompts = [scene.caption for scene in self.drawing.scenes]
        return find_references(
            self.drawing.family, self.bench.own_library, metadata, prompts, setting.queries
        )

    def _found(self, references: PromptReferences) -> dict[str, float]:
        masker = self.bench.parts.training.masker
        return found_things(self.bench.own_library, masker, self.world, self.drawing.scenes, references)

    def _probe(self, parts: Parts) -> float:
        """Recall of a linear probe on the library's features, as an adapter gets them where all names are masked."""
        library, masker = self.bench.own_library, parts.training.masker
        assert parts.features is not None
        captions, tokens = captions_of(library, masker, "masked"), []
        for first in range(0, len(library), BATCH):
            some = captions[first : first + BATCH]
            rows = torch.arange(first, first + len(some)).unsqueeze(1)
            tokens.append(parts.features.read(rows, {(place, 0): text for place, text in enumerate(some)}))
        return probe(torch.cat(tokens).squeeze(1), labels_of(library, masker))


def _losses(alignment: Alignment, batcher: Batcher, *, masked: bool) -> tuple[dict[str, Any], Tensor]:
    """Measure held-out pairs: smooth-L1 of the drafts by kind of references, mean differences with standard errors.

    Beside them each pair's loss with right references, (N,).
    """
    beta = alignment.settings.beta
    with torch.no_grad():
        losses = {
            kind: pair_losses(batcher, alignment.drafts, kind, masked=masked, beta=beta, batch=BATCH)
            for kind in get_args(References)
        }
    measured: dict[str, Any] = {kind: float(values.mean()) for kind, values in losses.items()}
    for kind in ("wrong", "none"):
        measured[f"{kind}_minus_right"] = mean_and_error(losses[kind] - losses["right"])
    return measured, losses["right"]
