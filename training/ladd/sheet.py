"""Sample sheets: what the student draws without, with right and with wrong references, beside the target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.atomic import save_atomically
from training.family.grid import save_grid
from training.ladd.batches import Batch, Batcher, References

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import AutoencoderKL

COLUMNS = ("base", "right references", "wrong references", "target", "first reference", "second reference")


@torch.no_grad()
def draw_sheet(
    path: Path,
    batcher: Batcher,
    vae: AutoencoderKL,
    draw: Callable[[Batch], Tensor],
    draw_base: Callable[[Batch], Tensor],
    *,
    rows: int,
) -> None:
    """Draw a sheet and, beside it, a text file with its prompts. The lower half is masked.

    Args:
        path: A PNG file.
        batcher: Of the held-out pairs; the first ones are drawn.
        vae: The family's autoencoder.
        draw: Gives the student's latents (B, c, h, w) float32.
        draw_base: Gives the latents of the base: no adapter, no LoRA.
        rows: Prompts.
    """
    rows = min(rows, len(batcher.pairs))
    plain = (rows + 1) // 2
    columns: list[list[Tensor]] = [[] for _ in COLUMNS]
    lines = ["columns: " + " | ".join(COLUMNS)]
    for indices, masked in ((range(plain), False), (range(plain, rows), True)):
        if not indices:
            continue
        kinds: dict[References, Batch] = {
            kind: batcher.held_out(list(indices), kind, masked=masked, seed=0)
            for kind in ("right", "wrong", "none")
        }
        right = kinds["right"]
        shown = [
            batcher.library.latents[right.rows[:, min(number, right.rows.shape[1] - 1)]] for number in (0, 1)
        ]
        drawn = [draw_base(kinds["none"]).cpu(), draw(right).cpu(), draw(kinds["wrong"]).cpu()]
        for column, latents in zip(columns, [*drawn, right.target, *shown], strict=True):
            column.append(latents)
        lines += _describe(right, batcher.library.captions)
    latents = torch.stack([torch.cat(column) for column in columns], dim=1).flatten(0, 1)
    save_grid(path, _decode(vae, latents), columns=len(COLUMNS))
    text = "\n".join(lines) + "\n"
    save_atomically(path.with_suffix(".txt"), lambda beside: beside.write_text(text, encoding="utf-8"))


def _decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    device = next(vae.parameters()).device
    scaled = latents.to(device) / float(vae.config.scaling_factor)
    return torch.cat([vae.decode(some).sample.cpu() for some in torch.split(scaled, 32)])


def _describe(batch: Batch, captions: tuple[str, ...]) -> list[str]:
    lines = []
    for place, (prompt, shown) in enumerate(zip(batch.prompts, batch.shown, strict=True)):
        lines.append(shown if shown == prompt else f"{shown}   [{prompt}]")
        for number, (row, weight) in enumerate(
            zip(batch.rows[place].tolist(), batch.weights[place].tolist(), strict=True)
        ):
            lines.append(f"    {weight:.2f}  {batch.changed.get((place, number), captions[row])}")
    return lines
