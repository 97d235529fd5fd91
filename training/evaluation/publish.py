"""Puts the results into the documentation: plots and page, from the numbers alone.

Command: ``python -m training.evaluation.publish --out docs`` draws both again from ``docs/results.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS, PAGE, GRIDS, PICTURES = "results.json", "results.md", "grids.md", "results"
NEW_CONCEPTS = "new_concepts.json"


def publish(document: Mapping[str, Any], out: Path) -> None:
    """Draw the plots and write the page. Sheets and grids are linked where they are, and new concepts told of.

    Args:
        document: What results.json holds.
        out: The folder of documentation.
    """
    from training.evaluation.page import make_page
    from training.evaluation.plots import draw_plots
    from training.evaluation.results import write_text
    from training.evaluation.sheets import TITLES

    plots = {name: f"{PICTURES}/{file}" for name, file in draw_plots(document, out / PICTURES).items()}
    files = {title: f"{PICTURES}/{name}.png" for name, title in TITLES.items()}
    sheets = {title: file for title, file in files.items() if (out / file).exists()}
    page = make_page(
        document,
        plots,
        sheets,
        GRIDS if (out / GRIDS).exists() else None,
        _read_new_concepts(out / NEW_CONCEPTS),
        folder=out,
    )
    write_text(out / PAGE, page)


def read_results(path: Path) -> dict[str, Any]:
    """Read what a run of ``python -m training.evaluation`` wrote.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no JSON, or lacks a part.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; write it with: python -m training.evaluation")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON ({error}); write it again with python -m training.evaluation"
        ) from error
    needed = ("protocol", "rows", "paired", "paired_clip", "paired_recall", "controls")
    missing = [name for name in needed if not isinstance(document, dict) or name not in document]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; write it again with python -m training.evaluation"
        )
    return dict(document)


def _read_new_concepts(path: Path) -> dict[str, Any] | None:
    """What the benchmark of new concepts wrote, or None where it did not run."""
    if not path.exists():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        command = "python -m training.evaluation.new_concepts_run"
        raise ValueError(f"{path} is no JSON ({error}); write it again with: {command}") from error
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the plots and the page of the results again; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluation.publish", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help=f"folder with {RESULTS}")
    options = parser.parse_args(arguments)
    try:
        publish(read_results(options.out / RESULTS), options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
