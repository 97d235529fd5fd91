"""One evaluation's family, judge and benchmark, and the pictures and scores of rows: each drawn and judged once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragturbo_runtime.manifest import MANIFEST_FILE
from training.data.render import Pixels
from training.data.splits import scenes
from training.data.tifa import BENCHMARK_SCENES
from training.data.world import World
from training.evaluation.artists import Artists
from training.evaluation.fidelity import Fidelity
from training.evaluation.judge import Judge
from training.evaluation.judge_faults import through_vae
from training.evaluation.latency_parts import split_of
from training.evaluation.results import Benchmark, Measured, best_of, make_protocol, measure, write_json
from training.evaluation.rows import CANDIDATES, DRAWN, ORDER, ROWS, THROUGH_VAE, Row, draw_row, find_row
from training.evaluation.scores import RowScores
from training.family.folder import read_settings, world_of


@dataclass(frozen=True)
class Settings:
    """What to measure, and where to write it."""

    family: Path
    """The trained family's folder."""
    bundle: Path | None
    """Its exported bundle; None draws the adapter in torch."""
    judge: Path
    """The judge's file."""
    metric_clip: Path
    """The folder of the CLIP that measures."""
    out: Path
    """Folder for results.json, results.md and results/*.png."""
    cache: Path
    """Folder of kept pictures and answers."""
    count: int = BENCHMARK_SCENES
    """Captions of the benchmark."""
    rows: tuple[str, ...] = ()
    """Only these rows: printed, not written. Empty: all, and written."""
    merges: bool = False
    """Put the rows into the results.json that is there."""
    times: bool = False
    """Only time the rows, and put that into the results.json that is there."""


@dataclass(frozen=True)
class Session:
    """Draws and judges rows of one family."""

    settings: Settings
    family: dict[str, Any]
    """What the family's folder says of it."""
    world: World
    judge: Judge
    benchmark: Benchmark
    artists: Artists
    _pictures: dict[str, Pixels] = field(default_factory=dict)
    _scores: dict[str, RowScores] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: Settings) -> Session:
        """Read what an evaluation needs.

        Raises:
            FileNotFoundError: The family, the judge, the bundle or the CLIP that measures are missing.
            ValueError: The judge knows other concepts.
        """
        family = read_settings(settings.family)
        world = world_of(family, settings.family)
        judge = Judge.load(settings.judge)
        judge.check_world(world)
        if settings.bundle is not None and not (settings.bundle / MANIFEST_FILE).is_file():
            raise FileNotFoundError(
                f"{settings.bundle} is no bundle: it holds no {MANIFEST_FILE}; pass a folder that "
                "python -m export.onnx wrote, or --bundle none to draw with torch"
            )
        Fidelity.load(settings.metric_clip)  # what is missing is said before an hour of drawing, not after it
        benchmark = Benchmark.of(
            scenes(world, "benchmark", settings.count), world.names, family=family["name"]
        )
        guidance_scale = float(family["config"].get("student", {}).get("guidance_scale", 3.0))
        artists = Artists(settings.family, benchmark.prompts, settings.bundle, guidance_scale)
        return cls(settings, family, world, judge, benchmark, artists)

    def table(self) -> list[Row]:
        """The drawn rows of the table, without baselines that nobody trained; says so."""
        return [row for row in ROWS.values() if not row.is_left_out(self.artists)]

    def every_row(self) -> tuple[str, ...]:
        """All rows that can be drawn, in their order."""
        drawn = {row.name for row in self.table()}
        return tuple(name for name in ORDER if name in drawn or name not in ROWS)

    def pictures(self, name: str) -> Pixels:
        """Give a row's pictures, (N, H, W, 3) uint8; what is missing is drawn.

        Raises:
            ValueError: There is no such row.
        """
        if name not in self._pictures:
            self._pictures[name] = self._draw(name)
        return self._pictures[name]

    def scores(self, name: str) -> RowScores:
        """Score a row, and keep every answer beside the pictures, in TIFA's own form."""
        if name not in self._scores:
            self._scores[name], answers = measure(self.judge, self.benchmark, self.pictures(name))
            write_json(self.settings.cache / "answers" / f"{name}.json", answers)
        return self._scores[name]

    def measured(self, names: Sequence[str], latency: dict[str, float]) -> dict[str, Measured]:
        """Measure rows, with FID and CLIP score.

        Args:
            names: Which.
            latency: Milliseconds by row and part, of those that were timed.
        """
        fidelity = Fidelity.load(self.settings.metric_clip)
        real = fidelity.embed(self.pictures(DRAWN))
        measured = {}
        for name in names:
            embedded = real if name == DRAWN else fidelity.embed(self.pictures(name))
            measured[name] = Measured(
                self.scores(name),
                fidelity.clip_scores(self.benchmark.prompts, embedded),
                fidelity.fid(embedded, real) if name != DRAWN else None,
                latency.get(name),
                split_of(name, latency),
                len(CANDIDATES[name]) if name in CANDIDATES else None,
            )
        return measured

    def protocol(self) -> dict[str, Any]:
        """How all of this is measured."""
        protocol = make_protocol(
            self.family["name"],
            self.benchmark,
            self.judge,
            self.settings.judge,
            self.settings.out,
            guidance_scale=self.artists.guidance_scale,
            through="torch" if self.settings.bundle is None else "the exported ONNX bundle",
        )
        return protocol | {"training_pictures": int(self.family["config"]["teacher"]["latent_cache"])}

    def _draw(self, name: str) -> Pixels:
        if name == DRAWN:
            return self.benchmark.pictures(int(self.family["resolution"]))
        if name == THROUGH_VAE:
            return through_vae(self.artists.family.vae, self.pictures(DRAWN))
        if name not in CANDIDATES:
            return draw_row(self.artists, find_row(name), self.settings.cache)
        candidates = [draw_row(self.artists, row, self.settings.cache) for row in CANDIDATES[name]]
        return best_of(candidates, [measure(self.judge, self.benchmark, some)[0] for some in candidates])
