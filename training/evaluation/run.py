"""One evaluation from the family's folder to the files in docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.data.exposure import expected_pictures
from training.data.render import Pixels, draw
from training.data.splits import scene
from training.data.world import World
from training.evaluation.artists import Artists
from training.evaluation.by_concept import recall_by_concept
from training.evaluation.grids import LABELS, Material, write_grids
from training.evaluation.latency import measure_latency
from training.evaluation.latency_parts import measure_bundle
from training.evaluation.merge import merge_rows
from training.evaluation.page import format_table
from training.evaluation.publish import PICTURES, RESULTS, publish
from training.evaluation.references import new_search
from training.evaluation.results import Benchmark, Measured, make_document, write_json
from training.evaluation.retime import retime
from training.evaluation.rows import DRAWN, TABLE
from training.evaluation.session import Session, Settings
from training.evaluation.sheets import TITLES, choose, save_sheet
from training.evaluation.strip import Shown
from training.evaluation.times import timed_rows
from training.family.folder import read_json

SHOWN = (
    "teacher_50",
    "base_1",
    "lora_only_1",
    "adapter_1",
    "adapter_wrong_references_1",
    "adapter_no_references_1",
)
"""The columns of the sheets."""


def evaluate(settings: Settings) -> str:
    """Draw what is missing, judge everything, write the results.

    Args:
        settings: What to measure.

    Returns:
        The table, as text.

    Raises:
        FileNotFoundError: The family, its adapters or the judge are missing.
        ValueError: The judge knows other concepts, the bundle is another's, a row's name is unknown, or rows do not
            fit the results that they should be merged into.
    """
    session = Session.open(settings)
    if settings.times:
        return format_table(retime(session))
    if settings.merges:
        return format_table(merge_rows(session, settings.rows))
    if settings.rows:
        scored = {name: Measured(session.scores(name)) for name in settings.rows}
        return format_table(_document(scored, session.protocol()))
    return format_table(_write_everything(session))


def _write_everything(session: Session) -> dict[str, Any]:
    settings, names = session.settings, session.every_row()
    pictures = {name: session.pictures(name) for name in names}
    latency = measure_latency(session.artists, timed_rows(session.table()), settings.cache)
    document = _document(session.measured(names, latency), session.protocol())
    shown = expected_pictures(session.world, document["protocol"]["training_pictures"])
    scores = {name: session.scores(name) for name in names}
    document["by_concept"] = recall_by_concept(scores, session.judge.frequencies, shown)
    if (bundle_ms := measure_bundle(session.artists, settings.cache)) is not None:
        document["bundle_ms"] = bundle_ms
    sheets = {name: pictures[name] for name in (*SHOWN, DRAWN)}
    _draw_sheets(settings.out / PICTURES, session.benchmark, session.world, sheets)
    material = _grid_material(session.artists, session.benchmark, pictures, settings.cache)
    write_grids(material, settings.out)
    write_json(settings.out / RESULTS, document)
    publish(document, settings.out)
    return document


def _document(measured: Mapping[str, Measured], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The rows in the table's order; what is no row is a control."""
    rows = {name: measured[name] for name in TABLE if name in measured}
    controls = {name: measured[name] for name in measured if name not in TABLE}
    return make_document(rows, controls, protocol)


def _draw_sheets(folder: Path, benchmark: Benchmark, world: World, pictures: Mapping[str, Pixels]) -> None:
    for name in TITLES:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier run with other captions
    for name, indices in choose(benchmark.scenes, world).items():
        captions = [benchmark.prompts[index] for index in indices]
        save_sheet(folder / f"{name}.png", captions, {row: some[indices] for row, some in pictures.items()})


def _grid_material(
    artists: Artists, benchmark: Benchmark, pictures: Mapping[str, Pixels], cache: Path
) -> Material:
    """What the side-by-side page is made of; the answers are those that `Session.scores` kept."""
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
    picture = draw(
        scene(artists.family.world, "library", row),
        artists.family.resolution,
    )
    return Shown(picture, artists.library.captions[row], weight)
