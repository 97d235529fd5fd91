"""Where the rows' pictures come from: drawn by a bundle, or already there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragturbo_runtime.requests import MAX_PICTURES
from training.benchmarks.drawing import ROWS, draw_rows, seed_of
from training.benchmarks.pictures import PictureSet, find_pictures
from training.benchmarks.prompts import Prompt

DEFAULT_BUNDLE = Path("ragturbo_sdk/bundles/emoji")
SEEDS = f"{seed_of.__name__}(prompt id, first seed): sha256, the first 48 bits; the same for every row"


@dataclass(frozen=True)
class Options:
    """What the benchmarks share."""

    out: Path
    """Folder of pictures, answers and results."""
    bundle: Path | None = None
    """Draws the prompts; None: `DEFAULT_BUNDLE`, unless there are pictures."""
    pictures: Sequence[Path] = ()
    """Folders of pictures that are there already, a row each."""
    references: int | None = None
    """That a prompt looks up; None: the bundle's default."""
    first_seed: int = 0
    count: int | None = None
    """Prompts, from the first; None: all."""
    batch: int = 16
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check what no other part does.

        Raises:
            ValueError: A number is out of range.
        """
        if not 1 <= self.batch <= MAX_PICTURES:
            raise ValueError(f"--batch {self.batch}; allowed are 1 to {MAX_PICTURES}")


def picture_rows(options: Options, prompts: Sequence[Prompt]) -> list[PictureSet]:
    """Find the given pictures, then draw with the bundle; its rows come first.

    Raises:
        FileNotFoundError: Pictures are missing.
        ValueError: Kept pictures are of another bundle, seed or prompt, or two rows have the same name.
        RagTurboError: The bundle cannot be used.
    """
    given = [find_pictures(source, prompts) for source in options.pictures]
    draws = not given or options.bundle is not None
    names = Counter([*(ROWS if draws else ()), *(row.name for row in given)])
    if doubled := [name for name, times in names.items() if times > 1]:
        raise ValueError(f"--pictures: two rows would be called {doubled}; rename a folder")
    if not draws:
        return given
    return [*_drawn(options, prompts), *given]


def rows_protocol(rows: Sequence[PictureSet]) -> dict[str, Any]:
    """Where each row's pictures come from, as JSON values."""
    return {"seeds": SEEDS, "pictures": {row.name: dict(row.protocol) for row in rows}}


def _drawn(options: Options, prompts: Sequence[Prompt]) -> list[PictureSet]:
    from tqdm import tqdm

    from training.evaluation.bundle_pictures import BundlePainter

    bundle = options.bundle or DEFAULT_BUNDLE
    with (
        BundlePainter(bundle, device=options.device, references=options.references) as painter,
        tqdm(total=len(prompts) * (1 + painter.has_library), desc="pictures", unit="picture") as bar,
    ):
        return draw_rows(
            painter, prompts, options.out / "pictures", first_seed=options.first_seed, batch=options.batch,
            on_progress=bar.update,
        )  # fmt: skip
