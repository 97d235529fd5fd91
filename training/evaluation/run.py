"""One evaluation from the family's folder to the files in docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.splits import scenes
from training.data.world import World, parse_world
from training.evaluation.judge import Judge, Pixels
from training.evaluation.results import (
    DRAWN,
    Benchmark,
    format_table,
    make_document,
    make_page,
    make_protocol,
    measure,
    write_json,
    write_text,
)
from training.evaluation.rows import NO_REFERENCES, ROWS, Artists, draw_row
from training.evaluation.sheets import choose, save_sheet
from training.family.folder import SETTINGS_FILE, read_json

_TITLES = {
    "first": "first captions",
    "rare": "rare concepts",
    "library_only": "concepts that only the library shows",
}


@dataclass(frozen=True)
class Settings:
    """What to measure, and where to write it."""

    family: Path
    """The trained family's folder."""
    bundle: Path | None
    """Its exported bundle; None draws the adapter in torch."""
    judge: Path
    """The judge's file."""
    out: Path
    """Folder for results.json, results.md and results/*.png."""
    cache: Path
    """Folder of kept pictures and answers."""
    count: int = 600
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
    pictures = {
        name: draw_row(artists, name, settings.cache) for name in settings.rows or (*ROWS, NO_REFERENCES)
    }
    pictures[DRAWN] = benchmark.pictures(int(family["resolution"]))
    protocol = make_protocol(
        family["name"],
        benchmark,
        judge,
        settings.judge,
        guidance_scale=guidance_scale,
        through="torch" if settings.bundle is None else "the exported ONNX bundle",
    )
    document = _score(settings, judge, benchmark, pictures, protocol)
    if not settings.rows:
        sheets = _draw_sheets(settings.out / "results", benchmark, world, pictures)
        write_json(settings.out / "results.json", document)
        write_text(settings.out / "results.md", make_page(document, judge, sheets))
    return format_table(document)


def _score(
    settings: Settings,
    judge: Judge,
    benchmark: Benchmark,
    pictures: Mapping[str, Pixels],
    protocol: Mapping[str, Any],
) -> dict[str, Any]:
    """Score every row, and keep every answer beside the pictures, in TIFA's own form."""
    scores = {}
    for name, some in pictures.items():
        scores[name], answers = measure(judge, benchmark, some)
        write_json(settings.cache / "answers" / f"{name}.json", answers)
    rows = {name: scores[name] for name in ROWS if name in scores}
    controls = {name: scores[name] for name in scores if name not in ROWS}
    return make_document(rows, controls, protocol)


def _draw_sheets(
    folder: Path, benchmark: Benchmark, world: World, pictures: Mapping[str, Pixels]
) -> dict[str, str]:
    """Write the sheets; returns title -> file, relative to the folder above."""
    sheets = {}
    for name, indices in choose(benchmark.scenes, world).items():
        captions = [benchmark.prompts[index] for index in indices]
        save_sheet(folder / f"{name}.png", captions, {row: some[indices] for row, some in pictures.items()})
        sheets[_TITLES[name]] = f"{folder.name}/{name}.png"
    return sheets
