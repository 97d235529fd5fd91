"""Draws a benchmark's prompts with a bundle and keeps the pictures; a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from training.atomic import save_atomically
from training.benchmarks.pictures import PictureSet
from training.benchmarks.prompts import Prompt
from training.recipe import check_recipe, write_recipe

if TYPE_CHECKING:
    from training.evaluation.bundle_pictures import BundlePainter

RECIPE_FILE = "recipe.json"
ROWS = {"retrieval": True, "no_retrieval": False}
"""Row -> whether it looks things up."""
WAY_OUT = "choose another --out, or delete that folder"
_BYTES = 6  # of a seed: 48 bits, which every JSON reader holds exactly


def seed_of(prompt_id: str, first_seed: int) -> int:
    """The seed of a prompt's noise: the same for every row and count of prompts, in [0, 2^48)."""
    return int.from_bytes(hashlib.sha256(f"{first_seed}/{prompt_id}".encode()).digest()[:_BYTES])


def draw_rows(
    painter: BundlePainter,
    prompts: Sequence[Prompt],
    out: Path,
    *,
    first_seed: int,
    batch: int,
    on_progress: Callable[[int], object],
) -> list[PictureSet]:
    """Draw every prompt with retrieval and without; a bundle without a library has the second row alone.

    Args:
        painter: The bundle.
        prompts: What to draw.
        out: Each row's pictures lie in a folder of its name below it.
        first_seed: Another one gives every prompt another noise.
        batch: Pictures at a time.
        on_progress: Is told how many more are there.

    Raises:
        ValueError: A folder holds pictures of another bundle, seed or prompt.
        RagTurboError: A graph failed.
    """
    rows = {name: looks_up for name, looks_up in ROWS.items() if painter.has_library or not looks_up}
    return [
        _draw_row(painter, prompts, out / name, looks_up, first_seed, batch, on_progress)
        for name, looks_up in rows.items()
    ]


def _draw_row(
    painter: BundlePainter,
    prompts: Sequence[Prompt],
    folder: Path,
    retrieval: bool,
    first_seed: int,
    batch: int,
    on_progress: Callable[[int], object],
) -> PictureSet:
    recipe = {
        "bundle": painter.name, "manifest_sha256": painter.manifest_sha256, "steps": 1,
        "references": painter.references if retrieval else 0, "first_seed": first_seed,
    }  # fmt: skip
    if (folder / RECIPE_FILE).exists():
        check_recipe(folder / RECIPE_FILE, recipe, what="pictures", way_out=WAY_OUT)
    else:
        write_recipe(folder / RECIPE_FILE, recipe)
    files = {one.id: folder / f"{one.id}.png" for one in prompts}
    missing = [one for one in prompts if not files[one.id].exists()]
    on_progress(len(prompts) - len(missing))
    for first in range(0, len(missing), batch):
        some = missing[first : first + batch]
        seeds = [seed_of(one.id, first_seed) for one in some]
        drawn = painter.draw([one.text for one in some], seeds, retrieval=retrieval)
        for one, seed, pixels, cut in zip(some, seeds, drawn.images, drawn.cut, strict=True):
            _save(files[one.id], Image.fromarray(pixels), one.text, seed, cut)
        on_progress(len(some))
    return PictureSet(folder.name, files, recipe | {"prompts_cut": _count_cut(prompts, files)})


def _save(path: Path, picture: Image.Image, prompt: str, seed: int, cut: Sequence[str]) -> None:
    info = PngInfo()
    for key, value in (("prompt", prompt), ("seed", str(seed)), ("cut", " ".join(cut))):
        info.add_itxt(key, value)
    save_atomically(path, lambda beside: picture.save(beside, format="PNG", pnginfo=info))


def _count_cut(prompts: Sequence[Prompt], files: dict[str, Path]) -> int:
    """How many prompts were longer than the text encoder reads; refuses pictures of other prompts on the way."""
    return sum(bool(_text_of(files[one.id], one.text).get("cut")) for one in prompts)


def _text_of(path: Path, prompt: str) -> dict[str, Any]:
    try:
        with Image.open(path) as opened:
            opened.load()
            text = dict(getattr(opened, "text", {}))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a picture that can be opened ({error}); delete it") from error
    if text.get("prompt") != prompt:
        raise ValueError(
            f"{path} was drawn from {text.get('prompt')!r}, the file of prompts now says {prompt!r}; {WAY_OUT}"
        )
    return text
