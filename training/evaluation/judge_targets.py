"""What the judge's network should say about a picture, and how wrong it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

NOTHING = -1
"""Label of a thing that must be read as not there."""
UNDECIDED = -2
"""Label of a thing about which reasonable readers differ: no loss around it."""
_IGNORED = -100  # functional.cross_entropy's own default
_REACH = 1  # cells around a centre that vote for it
BOX_WEIGHT = 1.0
"""Weight of the box loss beside the concept loss."""
GROUND_WEIGHT = 0.5
"""Weight of the ground loss beside the concept loss."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a training picture."""

    label: int
    """Index of its concept, or `NOTHING`, or `UNDECIDED`."""
    x: float
    """Centre, share of the picture's width."""
    y: float
    """Centre, share of the picture's height."""
    size: float
    """Side, share of the picture's width."""


@dataclass(frozen=True)
class Targets:
    """What the network should say about a batch."""

    concepts: Tensor
    """(B, G, G) int64: concept index, ``concepts`` for none, -100 for no loss."""
    boxes: Tensor
    """(B, 3, G, G) float32: offset x and y in cells, log side in cells; only read where a concept stands."""
    grounds: Tensor
    """(B,) int64: index of the ground."""


def make_targets(
    things: Sequence[Sequence[Thing]], grounds: Sequence[int], *, cells: int, concepts: int
) -> Targets:
    """Lay the things of a batch on the grid.

    Args:
        things: Per picture, what is in it.
        grounds: Per picture, the index of its ground.
        cells: Cells along a side of the grid, G.
        concepts: Number of concepts; this is also the index of "none".
    """
    labels = np.full((len(things), cells, cells), concepts, dtype=np.int64)
    boxes = np.zeros((len(things), 3, cells, cells), dtype=np.float32)
    for picture, inside in enumerate(things):
        for thing in inside:
            _lay(labels[picture], boxes[picture], thing, none=concepts)
    return Targets(torch.from_numpy(labels), torch.from_numpy(boxes), torch.tensor(list(grounds)))


def judge_loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Targets) -> Tensor:
    """Concepts by cross-entropy per cell, boxes by L1 where a concept stands, ground by cross-entropy.

    The concept loss is divided by the number of cells that hold a concept, not by all cells: empty ground is
    most of a picture and soon costs nothing.

    Args:
        outputs: What the network returned.
        targets: What it should have.

    Returns:
        A scalar that backpropagates.
    """
    logits, boxes, grounds = outputs
    holds = (targets.concepts >= 0) & (targets.concepts < logits.shape[1] - 1)
    count = holds.sum().clamp(min=1)
    concept = functional.cross_entropy(logits, targets.concepts, reduction="sum") / count
    box = ((boxes - targets.boxes).abs().sum(1) * holds).sum() / count
    ground = functional.cross_entropy(grounds, targets.grounds)
    loss: Tensor = concept + BOX_WEIGHT * box + GROUND_WEIGHT * ground
    return loss


def _lay(labels: NDArray[np.int64], boxes: NDArray[np.float32], thing: Thing, *, none: int) -> None:
    cells = labels.shape[-1]
    column, row = thing.x * cells, thing.y * cells
    left, top = int(column) - _REACH, int(row) - _REACH
    rows = slice(max(0, top), top + 2 * _REACH + 1)
    columns = slice(max(0, left), left + 2 * _REACH + 1)
    labels[rows, columns] = {NOTHING: none, UNDECIDED: _IGNORED}.get(thing.label, thing.label)
    ring = labels[max(0, top - 1) : top + 2 * _REACH + 2, max(0, left - 1) : left + 2 * _REACH + 2]
    ring[ring == none] = _IGNORED if thing.label != NOTHING else none
    middles = np.arange(cells, dtype=np.float32) + 0.5
    boxes[0, rows, columns] = (column - middles[columns])[None, :]
    boxes[1, rows, columns] = (row - middles[rows])[:, None]
    boxes[2, rows, columns] = np.log(thing.size * cells)
