"""One study from the family's folder to the files in docs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ragturbo_runtime.files import hash_file
from training.data.scene import Scene
from training.data.splits import scenes
from training.data.world import World
from training.evaluation.judge import Judge
from training.evaluation.results import write_json, write_text
from training.family.folder import family_hashes, read_settings, weights_hash, world_of
from training.ladd.batches import References
from training.ladd.setup import assemble
from training.models.checkpoint import load_adapter
from training.study.bench import Bench
from training.study.config import StudyConfig
from training.study.measure import Laboratory
from training.study.memory import EncodedRows
from training.study.page import make_page
from training.study.recall import Drawing
from training.study.settings import Setting, asked, default_of, to_train
from training.study.store import Store
from training.study.summary import count_things, make_document

logger = logging.getLogger(__name__)


@dataclass
class Study:
    """Measures what is missing, and writes the results.

    Args (fields):
        config: The study's.
        family: The family's folder, with its adapter.
        judge: The judge's file.
    """

    config: StudyConfig
    family: Path
    judge: Path

    def run(self, out: Path) -> dict[str, Any]:
        """Measure what is missing, write ``study.json`` and ``study.md``.

        Args:
            out: Their folder.

        Returns:
            What study.json says.

        Raises:
            FileNotFoundError: The family, its adapter or the judge are missing.
            ValueError: The judge knows other concepts, the work folder holds another run's pairs, or a setting cannot
                be used.
        """
        aligned = {setting: self._measured("align", setting) for setting in self.settings}
        bundled = {
            (setting, kind): self._measured("bundled", setting, kind) for setting, kind in self._to_draw()
        }
        document = make_document(self.config, aligned, bundled, count_things(self._world, self._scenes))
        write_json(out / "study.json", document)
        write_text(out / "study.md", make_page(document))
        return document

    @property
    def settings(self) -> list[Setting]:
        """Those that adapters are aligned with."""
        return to_train(default_of(self.config.ladd), self.config.questions, self.config.seeds)

    def _to_draw(self) -> Iterator[tuple[Setting, References]]:
        """What the family's own adapter draws with: only what can be changed after its training."""
        default = default_of(self.config.ladd)
        yield default, "right"
        yield default, "wrong"
        yield default, "none"
        for choice, setting in asked(default, self.config.questions):
            if choice in ("queries", "weighing") and setting != default:
                yield setting, "right"

    def _measured(self, what: str, setting: Setting, kind: References = "right") -> dict[str, Any]:
        depends_on = {"what": what, "setting": asdict(setting), "references": kind, **self._depends_on}
        found = self._store.get(depends_on)
        if found is None:
            logger.info("measuring: %s, %s, %s references", what, _differing(setting, self.config), kind)
            lab = self._laboratory
            found = lab.align(setting) if what == "align" else lab.draw_bundled(setting, kind)
            self._store.put(depends_on, found)
        return found

    @cached_property
    def _store(self) -> Store:
        return Store(Path(self.config.ladd.work_dir))

    @cached_property
    def _depends_on(self) -> dict[str, Any]:
        """What every measurement depends on beside its setting."""
        ladd = asdict(self.config.ladd)
        used = ("pairs", "real", "retrieval", "student", "alignment")
        return {
            "run": {name: ladd[name] for name in used} | {"clip_norm": self.config.ladd.optimiser.clip_norm},
            "prompts": self.config.prompts,
            "base": family_hashes(self.family),
            "teacher": weights_hash(self.family, "teacher"),
            "adapter": hash_file(self.family / "adapter.safetensors"),
            "judge": hash_file(self.judge),
        }

    @cached_property
    def _world(self) -> World:
        return world_of(read_settings(self.family), self.family)

    @cached_property
    def _scenes(self) -> tuple[Scene, ...]:
        return tuple(scenes(self._world, "validation", self.config.prompts))

    @cached_property
    def _laboratory(self) -> Laboratory:
        """Loaded and made only if something is missing."""
        judge = Judge.load(self.judge)
        judge.check_world(self._world)
        parts = assemble(self.config.ladd, self.family, retrieves=True, device=torch.device("cpu"))
        return Laboratory(
            Bench(self.config.ladd, parts),
            EncodedRows(parts),
            Drawing(parts.family, judge, self._scenes),
            self._world,
            load_adapter(self.family / "adapter.safetensors"),
        )


def _differing(setting: Setting, config: StudyConfig) -> str:
    default = asdict(default_of(config.ladd))
    changed = [f"{name} {value}" for name, value in asdict(setting).items() if value != default[name]]
    return ", ".join(changed) or "the default"
