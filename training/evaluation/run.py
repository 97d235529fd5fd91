"""One evaluation from the family's folder to the files in docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.exposure import expected_pictures
from training.data.render import draw
from training.data.splits import scene, scenes
from training.data.tifa import BENCHMARK_SCENES
from training.data.world import World, parse_world
from training.evaluation.artists import Artists
from training.evaluation.by_concept import recall_by_concept
from training.evaluation.fidelity import Fidelity
from training.evaluation.grids import LABELS, Material, write_grids
from training.evaluation.judge import Judge, Pixels
from training.evaluation.latency import measure_latency
from training.evaluation.latency_parts import measure_bundle, split_of
from training.evaluation.page import DRAWN, format_table
from training.evaluation.publish import PICTURES, RESULTS, publish
from training.evaluation.references import new_search
from training.evaluation.results import (
    Benchmark,
    Measured,
    best_of,
    make_document,
    make_protocol,
    measure,
    write_json,
)
from training.evaluation.rows import CANDIDATES, CONTROLS, ROWS, draw_row, find_row
from training.evaluation.scores import RowScores
from training.evaluation.sheets import TITLES, choose, save_sheet
from training.evaluation.strip import Shown
from training.family.folder import SETTINGS_FILE, read_json
from training.ladd.setup import world_of

TABLE = (*list(ROWS)[:5], *CANDIDATES, *list(ROWS)[5:])
"""The rows in the order of the paper's tables: others, direct injection, ours."""
SHOWN = (
    "teacher_50",
    "base_1",
    "lora_only_1",
    "adapter_1",
    "adapter_wrong_references_1",
    "adapter_no_references_1",
)
"""The columns of the sheets."""


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


def evaluate(settings: Settings) -> str:
    """Draw what is missing, judge everything, write the results.

    Args:
        settings: What to measure.

    Returns:
        The table, as text.

    Raises:
        FileNotFoundError: The family, its adapters or the judge are missing.
        ValueError: The judge knows other concepts, the bundle is another's, or a row's name is unknown.
    """
    family = read_json(settings.family / SETTINGS_FILE)
    world = parse_world(family["config"]["world"])
    judge = Judge.load(settings.judge)
    judge.check_world(world)
    benchmark = Benchmark.of(scenes(world, "benchmark", settings.count), world.names, family=family["name"])
    guidance_scale = float(family["config"].get("student", {}).get("guidance_scale", 3.0))
    artists = Artists(settings.family, benchmark.prompts, settings.bundle, guidance_scale)
    table = [row for row in ROWS.values() if not row.is_left_out(artists)]
    names = settings.rows or (*(row.name for row in table), *CONTROLS)
    pictures = {name: draw_row(artists, find_row(name), settings.cache) for name in names}
    scores = {name: _score(settings, judge, benchmark, name, some) for name, some in pictures.items()}
    protocol = make_protocol(
        family["name"],
        benchmark,
        judge,
        settings.judge,
        guidance_scale=guidance_scale,
        through="torch" if settings.bundle is None else "the exported ONNX bundle",
    )
    if settings.rows:
        return format_table(_document({name: Measured(one) for name, one in scores.items()}, protocol))
    for name in CANDIDATES:
        pictures[name] = _choose(artists, judge, benchmark, name, settings.cache)
    pictures[DRAWN] = benchmark.pictures(int(family["resolution"]))
    for name in (*CANDIDATES, DRAWN):
        scores[name] = _score(settings, judge, benchmark, name, pictures[name])
    latency = measure_latency(artists, table, settings.cache)
    measured = _measure_fidelity(settings, benchmark, pictures, scores, latency)
    trained_on = int(family["config"]["teacher"]["latent_cache"])
    protocol["training_pictures"] = trained_on
    document = _document(measured, protocol)
    document["by_concept"] = recall_by_concept(
        scores, judge.frequencies, expected_pictures(world, trained_on)
    )
    if (bundle_ms := measure_bundle(artists, settings.cache)) is not None:
        document["bundle_ms"] = bundle_ms
    _draw_sheets(
        settings.out / PICTURES, benchmark, world, {name: pictures[name] for name in (*SHOWN, DRAWN)}
    )
    write_grids(_grid_material(artists, benchmark, pictures, settings.cache), settings.out)
    write_json(settings.out / RESULTS, document)
    publish(document, settings.out)
    return format_table(document)


def _document(measured: Mapping[str, Measured], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The rows in the table's order; what is no row is a control."""
    rows = {name: measured[name] for name in TABLE if name in measured}
    controls = {name: measured[name] for name in measured if name not in TABLE}
    return make_document(rows, controls, protocol)


def _score(settings: Settings, judge: Judge, benchmark: Benchmark, name: str, pictures: Pixels) -> RowScores:
    """Score a row, and keep every answer beside the pictures, in TIFA's own form."""
    scores, answers = measure(judge, benchmark, pictures)
    write_json(settings.cache / "answers" / f"{name}.json", answers)
    return scores


def _choose(artists: Artists, judge: Judge, benchmark: Benchmark, name: str, cache: Path) -> Pixels:
    """Draw all candidates of a row, and take the best ones."""
    candidates = [draw_row(artists, row, cache) for row in CANDIDATES[name]]
    return best_of(candidates, [measure(judge, benchmark, some)[0] for some in candidates])


def _measure_fidelity(
    settings: Settings,
    benchmark: Benchmark,
    pictures: Mapping[str, Pixels],
    scores: Mapping[str, RowScores],
    latency: Mapping[str, float],
) -> dict[str, Measured]:
    fidelity = Fidelity.load(settings.metric_clip)
    embedded = {name: fidelity.embed(some) for name, some in pictures.items()}
    return {
        name: Measured(
            scores[name],
            fidelity.clip_scores(benchmark.prompts, some),
            fidelity.fid(some, embedded[DRAWN]) if name != DRAWN else None,
            latency.get(name),
            split_of(name, latency),
        )
        for name, some in embedded.items()
    }


def _draw_sheets(folder: Path, benchmark: Benchmark, world: World, pictures: Mapping[str, Pixels]) -> None:
    for name in TITLES:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier run with other captions
    for name, indices in choose(benchmark.scenes, world).items():
        captions = [benchmark.prompts[index] for index in indices]
        save_sheet(folder / f"{name}.png", captions, {row: some[indices] for row, some in pictures.items()})


def _grid_material(
    artists: Artists, benchmark: Benchmark, pictures: Mapping[str, Pixels], cache: Path
) -> Material:
    """What the side-by-side page is made of; the answers are those that `_score` kept."""
    answers = {name: read_json(cache / "answers" / f"{name}.json") for name in LABELS}
    details = {name: some["question_details"] for name, some in answers.items()}

    def references(indices: Sequence[int]) -> list[list[Shown]]:
        search = new_search(artists.family, artists.library, artists.adapter.metadata)
        found = search(artists.texts(indices))
        return [
            [_shown(artists, row, weight) for row, weight in zip(rows, weights, strict=True) if weight > 0]
            for rows, weights in zip(found.rows.tolist(), found.weights.tolist(), strict=True)
        ]

    return Material(benchmark, pictures, details, references)


def _shown(artists: Artists, row: int, weight: float) -> Shown:
    picture = draw(scene(world_of(artists.family), "library", row), artists.family.resolution)
    return Shown(picture, artists.library.captions[row], weight)
