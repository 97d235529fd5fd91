"""What all settings of a study share, made once: the pairs, the library, and what each choice makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from ragturbo_runtime.retriever import Calibration
from training.data.inventions import concept_of
from training.ladd.batches import Batcher
from training.ladd.library import ReferenceFeatures, TrainingLibrary
from training.ladd.neighbours import Neighbours, find_neighbours
from training.ladd.queries import Ask
from training.ladd.setup import Parts
from training.ladd.strangers import strangers_of
from training.models.adapter import HSpaceAdapter
from training.study.settings import configured

if TYPE_CHECKING:
    from training.ladd.config import LaddConfig
    from training.study.settings import Setting, Weighing

COSINE = Calibration(0.0, 1.0)
"""The paper's lambda."""
ONE = Calibration(-2.0, -1.0)
"""Every cosine is over it."""
NAMES = ("training", "held_out", "unknown")


@dataclass
class Bench:
    """Makes the parts of each setting out of those of the default run.

    Args (fields):
        ladd: The default run's config.
        parts: Its parts, from `training.ladd.setup.assemble`.
    """

    ladd: LaddConfig
    parts: Parts
    _features: tuple[tuple[object, ...], ReferenceFeatures] | None = None
    _neighbours: dict[Ask, dict[str, Neighbours]] = field(default_factory=dict)

    @property
    def own_library(self) -> TrainingLibrary:
        """The entries that a bundle holds, without those lent for training."""
        whole = self.parts.library
        own = whole.own
        return TrainingLibrary(whole.captions[:own], whole.latents[:own], whole.keys[:own])

    def calibration(self, weighing: Weighing) -> Calibration:
        """How cosines become lambdas."""
        if weighing == "calibrated":
            return self.parts.training.neighbours.calibration
        return COSINE if weighing == "cosine" else ONE

    def parts_of(self, setting: Setting) -> Parts:
        """The parts of a setting, with a new adapter. Training alone depends on the setting's seed."""
        config = configured(self.ladd, setting)
        self.parts.student.adapter = self._new_adapter(setting.seed)
        training, held_out, unknown = (
            self._batcher(name, setting, config, setting.seed if name == "training" else self.ladd.seed)
            for name in NAMES
        )
        features = self._features_of(setting)
        return replace(self.parts, features=features, training=training, held_out=held_out, unknown=unknown)

    def _new_adapter(self, seed: int) -> HSpaceAdapter:
        torch.manual_seed(seed)
        unet, student = self.parts.student.unet, self.ladd.student
        return HSpaceAdapter(
            int(unet.config.block_out_channels[-1]),
            num_attention_heads=student.attention_heads,
            norm_num_groups=student.norm_groups,
        )

    def _batcher(self, name: str, setting: Setting, config: LaddConfig, seed: int) -> Batcher:
        made = self._made(name)
        found = self._found(setting.queries)[name]
        return Batcher(
            made.pairs,
            replace(found, calibration=self.calibration(setting.weighing)),
            made.library,
            made.masker,
            retrieval=config.retrieval,
            masking=config.masking,
            fresh_noise=made.fresh_noise,
            seed=seed,
        )

    def _made(self, name: str) -> Batcher:
        made = getattr(self.parts, name)
        assert isinstance(made, Batcher)
        return made

    def _found(self, ask: Ask) -> dict[str, Neighbours]:
        """The neighbours of all pairs; a run's own are those of "both"."""
        if ask not in self._neighbours:
            self._neighbours[ask] = {
                name: self._made(name).neighbours if ask == "both" else self._look_up(self._made(name), ask)
                for name in NAMES
            }
        return self._neighbours[ask]

    def _look_up(self, batcher: Batcher, ask: Ask) -> Neighbours:
        strangers = strangers_of(self.ladd.real, self.parts.family.world)
        return find_neighbours(
            self.parts.family.text,
            self.parts.library,
            batcher.pairs,
            candidates=self.ladd.retrieval.candidates,
            near_duplicate=self.ladd.retrieval.near_duplicate,
            calibration=batcher.neighbours.calibration,
            masker=batcher.masker,
            lent=tuple(concept_of(name).name for name in strangers),
            ask=ask,
        )

    def _features_of(self, setting: Setting) -> ReferenceFeatures:
        """The library as a setting reads it. The last ones are kept: most settings share the default's."""
        key = (
            setting.reference_timestep,
            setting.reference_caption,
            setting.encoder,
            setting.reference_pool,
        )
        if self._features is None or self._features[0] != key:
            unet = self.parts.student.unet if setting.encoder == "student" else self.parts.judge.teacher
            made = ReferenceFeatures(
                unet,
                self.parts.family.text,
                self.parts.library,
                timestep=setting.reference_timestep,
                caption=setting.reference_caption,
                pool=setting.reference_pool,
                codec=self.ladd.retrieval.feature_codec,
                bf16=self.parts.bf16,
            )
            self._features = key, made
        return self._features[1]
