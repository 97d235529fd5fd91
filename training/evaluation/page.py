"""Writes the results as a page to read: the paper's three tables, each with its plot, then the controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.evaluation.choice import choice_lines
from training.evaluation.judge_training import format_errors
from training.evaluation.rows import CHOSEN, CONTROLS, DRAWN, NO_REFERENCES, ROWS, THROUGH_VAE
from training.evaluation.stages import stage_lines
from training.evaluation.tables import (
    ablation_table,
    fidelity_table,
    legend,
    paired_table,
    score_table,
    type_table,
)
from training.evaluation.wanted import EXPLANATION, wanted_lines

ABOUT = {row.name: row.about for row in (*ROWS.values(), *CONTROLS.values())} | {
    DRAWN: "the drawn scenes",
    THROUGH_VAE: "the drawn scenes through the autoencoder's encoder and decoder",
}


def make_page(
    document: Mapping[str, Any],
    plots: Mapping[str, str],
    sheets: Mapping[str, str],
    grids: str | None,
    new_concepts: Mapping[str, Any] | None = None,
    *,
    folder: Path,
) -> str:
    """Write docs/results.md.

    Args:
        document: As `results.make_document` made it.
        plots: Name -> file relative to the page, as `plots.draw_plots` drew them.
        sheets: Title -> file relative to the page.
        grids: The page of side-by-side grids, relative to this one; None where there is none.
        new_concepts: What new_concepts.json holds; None where it was not measured.
        folder: Where the page is written.
    """
    protocol, rows, controls = document["protocol"], document["rows"], document["controls"]
    lines = [
        "# Results",
        "",
        f"Written by `{protocol['command']}`, never by hand; the numbers are also in [results.json](results.json).",
        f"The plots are drawn from it: `python -m training.evaluation.publish --out {folder}` draws them again.",
        f"{protocol['captions']} captions, {protocol['questions']} questions. Scores: mean [low, high].",
        "",
        *wanted_lines(document, new_concepts, explained=(folder / EXPLANATION).exists()),
        "## The rows",
        "",
        *legend({**rows, **controls}, _about(rows)),
        "",
        *_fidelity(rows, plots),
        *_faithfulness(rows, plots),
        *_ablation(document, plots),
        *_frequency(rows, plots),
        "## Paired differences",
        "",
        "The same captions from the same noise, so these intervals are narrower than the rows' own.",
        "",
        *paired_table(document),
        "",
        *stage_lines(document),
        *_controls(controls, plots),
        *_protocol(protocol),
        *_to_look_at(sheets, grids),
    ]
    return "\n".join(lines)


def format_table(document: Mapping[str, Any]) -> str:
    """The tables that the command prints."""
    parts = (score_table(document["rows"]), score_table(document["controls"]), paired_table(document))
    return "\n\n".join("\n".join(part) for part in parts if len(part) > 2)


def _fidelity(rows: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    return [
        "## Table 1: fidelity and speed",
        "",
        "The paper's table on COCO. FID (lower is better) and CLIP score by a CLIP that no generator saw; ms for one",
        "picture in torch, without retrieval's search, on the machine that ran this: compare rows. A row that is",
        "chosen takes as long as all its candidates together, without the choice, which the questions themselves make.",
        "",
        *fidelity_table(rows),
        "",
        *_plot(plots, "speed", "TIFA against milliseconds"),
    ]


def _faithfulness(rows: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    return [
        "## Table 2: faithfulness to the prompt",
        "",
        "The paper's table on TIFA: the score, and the share of right answers by element type.",
        "",
        *type_table(rows),
        "",
        *_plot(plots, "tifa", "TIFA of every row with its interval"),
        *_plot(plots, "element_types", "right answers by element type"),
    ]


def _ablation(document: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    return [
        "## Table 3: ablation and latency",
        "",
        "One step from the same base: without references, with references injected at a fixed strength, at the best of",
        "a grid for each caption (beside it what the best of as many seeds gives: both chosen by the score itself),",
        "LoRA alone, and the adapter. Total is from prompt to picture with the search; retrieval is the keys of prompt",
        "and phrases and the search. Rows that are chosen cost as many pictures as there are candidates.",
        "",
        *ablation_table(document["rows"]),
        "",
        *choice_lines(document["rows"]),
        *_bundle(document.get("bundle_ms")),
    ]


def _about(rows: Mapping[str, Any]) -> dict[str, str]:
    """What each row is; of the chosen ones, among how many."""
    chosen = {
        name: about.format(rows[name].get("candidates", "some"))
        for name, about in CHOSEN.items()
        if name in rows
    }
    return ABOUT | chosen


def _bundle(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    stages = measured["stages"]
    retrieval = stages["search"] + stages["features"]
    return [
        f"The exported bundle, as it ships, took {measured['on']:.1f} ms with retrieval and {measured['off']:.1f} ms "
        "without it",
        f"in the same run: {measured['overhead']:+.1%} (median of the pairs). Search and features took "
        f"{retrieval:.1f} ms, the adapter {stages['adapter']:.1f} ms.",
        "",
    ]


def _frequency(rows: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    return [
        "## Rare and library-only concepts",
        "",
        "Recall: the share of the things that captions name which the judge finds, by how often training showed them.",
        "",
        *score_table(rows),
        "",
        *_plot(plots, "frequency", "recall over training frequency, and what the adapter adds"),
    ]


def _controls(controls: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    return [
        "## Controls",
        "",
        *score_table(controls),
        "",
        *_plot(plots, "controls", "the adapter with one thing changed"),
        *type_table(controls),
        "",
    ]


def _protocol(protocol: Mapping[str, Any]) -> list[str]:
    return [
        "## How it was measured",
        "",
        *(f"- {key}: {value}" for key, value in protocol.items() if isinstance(value, str | int)),
        f"- vqa: {protocol['vqa']['name']}; {protocol['vqa']['parameters']:,} parameters",
        "",
        f"What `{DRAWN}` lacks, the judge got wrong.",
        f"`{NO_REFERENCES}` is the adapter's bundle with retrieval off. Absolute scores depend on the judge;",
        "the differences between rows are what counts. The judge's own errors, on held-out scenes of which",
        "everything is known (`other_picture`: asked about another scene's picture, where it must fail):",
        "",
        "```",
        format_errors(protocol["vqa"]["error_rates"]),
        "```",
        "",
    ]


def _to_look_at(sheets: Mapping[str, str], grids: str | None) -> list[str]:
    more = [f"[Side by side, wins and losses](./{grids}): chosen by a fixed rule too.", ""] if grids else []
    return [
        "## To look at",
        "",
        "Not hand-picked: the benchmark's first captions, and the first with a rare or library-only concept.",
        *more,
        "",
        *(f"![{title}]({file})" for title, file in sheets.items()),
        "",
    ]


def _plot(plots: Mapping[str, str], name: str, title: str) -> list[str]:
    return [f"![{title}]({plots[name]})", ""] if name in plots else []
