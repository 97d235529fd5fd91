"""Pictures to train the judge on: every concept equally often, and things damaged as generators damage them.

A judge that has only seen perfect pictures calls any smear by the nearest name. So a share of the things is
faded, mixed with another, shuffled, smeared, or replaced by something outside the family, and labelled by
what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.data.render import draw
from training.data.scene import Placed, Scene
from training.data.splits import scene as scene_at
from training.data.world import World
from training.evaluation.judge_targets import NOTHING, UNDECIDED, Thing
from training.evaluation.reading import GROUNDS

Canvas = NDArray[np.float32]

DAMAGED_SHARE = 0.35
"""Share of the training pictures in which one thing is damaged."""
_SEED_OFFSET = 104_729  # the judge's scenes come from another seed than the generator's


@dataclass(frozen=True)
class JudgePicture:
    """One training picture and what is in it."""

    pixels: NDArray[np.uint8]
    """(H, W, 3) sRGB."""
    things: tuple[Thing, ...]
    ground: int
    """Index into `GROUNDS`."""


@dataclass(frozen=True)
class _Case:
    """One thing that is about to be damaged."""

    random: np.random.Generator
    world: World
    scene: Scene
    index: int
    resolution: int

    @property
    def placed(self) -> Placed:
        return self.scene.placed[self.index]

    @property
    def label(self) -> int:
        return self.world.names.index(self.placed.concept)

    def drawn_with(self, concept: str | None) -> Canvas:
        """The picture with another concept in the place of this thing, or with nothing there."""
        placed = list(self.scene.placed)
        if concept is None:
            del placed[self.index]
        else:
            placed[self.index] = replace(self.placed, concept=concept)
        return draw(replace(self.scene, placed=tuple(placed)), self.resolution).astype(np.float32)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the thing covers."""
        side = max(2, round(self.placed.size * self.resolution))
        left = round(self.placed.x * self.resolution - side / 2)
        top = round(self.placed.y * self.resolution - side / 2)
        left, top = (min(max(0, start), max(0, self.resolution - side)) for start in (left, top))
        return slice(top, top + side), slice(left, left + side)

    def other(self) -> str:
        """Another concept of the family."""
        names = [name for name in self.world.names if name != self.placed.concept]
        return names[int(self.random.integers(len(names)))]


def even_world(world: World) -> World:
    """The same concepts, all equally frequent, with seeds of the judge's own."""
    return World(common=world.names, rare=(), library_only=(), seed=world.seed + _SEED_OFFSET)


def picture(world: World, index: int, *, resolution: int) -> JudgePicture:
    """Draw the training picture with an index, always the same.

    Args:
        world: A world from `even_world`.
        index: 0 or more.
        resolution: Side in pixels, divisible by 8.

    Returns:
        The picture. Its scene is one that the ``train`` split may show, so never one of the benchmark.
    """
    scene = scene_at(world, "train", index)
    random = np.random.default_rng((world.seed, index))
    things = [Thing(world.names.index(p.concept), p.x, p.y, p.size) for p in scene.placed]
    ground = GROUNDS.index(str(scene.background if scene.place is None else scene.place))
    if random.random() >= DAMAGED_SHARE:
        return JudgePicture(draw(scene, resolution), tuple(things), ground)
    case = _Case(random, world, scene, int(random.integers(len(things))), resolution)
    canvas, label = _DAMAGES[int(random.integers(len(_DAMAGES)))](case)
    things[case.index] = replace(things[case.index], label=label)
    return JudgePicture(np.rint(canvas).astype(np.uint8), tuple(things), ground)


def _fade(case: _Case) -> tuple[Canvas, int]:
    """More and more transparent."""
    share = float(case.random.uniform(0.05, 0.95))
    canvas = share * case.drawn_with(case.placed.concept) + (1 - share) * case.drawn_with(None)
    return canvas, case.label if share > 0.6 else NOTHING if share < 0.35 else UNDECIDED


def _mix(case: _Case) -> tuple[Canvas, int]:
    """Two concepts through each other."""
    share, other = float(case.random.uniform(0.05, 0.95)), case.other()
    canvas = share * case.drawn_with(case.placed.concept) + (1 - share) * case.drawn_with(other)
    if 0.4 < share < 0.6:
        return canvas, NOTHING
    if 0.25 < share < 0.75:
        return canvas, UNDECIDED
    return canvas, case.label if share >= 0.75 else case.world.names.index(other)


def _halve(case: _Case) -> tuple[Canvas, int]:
    """One half of one concept, the other half of another."""
    canvas, other = case.drawn_with(case.placed.concept), case.drawn_with(case.other())
    rows, columns = case.window
    if case.random.random() < 0.5:
        rows = slice(rows.start, (rows.start + rows.stop) // 2)
    else:
        columns = slice(columns.start, (columns.start + columns.stop) // 2)
    canvas[rows, columns] = other[rows, columns]
    return canvas, NOTHING


def _shuffle(case: _Case) -> tuple[Canvas, int]:
    """The right colours and details in the wrong places: four quarters, each moved to another corner."""
    canvas = case.drawn_with(case.placed.concept)
    rows, columns = case.window
    side = (rows.stop - rows.start) // 2 * 2
    patch = canvas[rows.start : rows.start + side, columns.start : columns.start + side]
    half = (side // 2, side // 2)
    patch[:] = (
        np.roll(patch, half, axis=(0, 1)) if case.random.random() < 0.5 else np.roll(patch, half[0], axis=0)
    )
    return canvas, NOTHING


def _smear(case: _Case) -> tuple[Canvas, int]:
    """A blob of the right colours."""
    canvas = case.drawn_with(case.placed.concept)
    rows, columns = case.window
    radius = float(case.random.uniform(0.14, 0.3)) * (rows.stop - rows.start)
    blurred = Image.fromarray(canvas.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    margin = round(radius)
    rows = slice(max(0, rows.start - margin), rows.stop + margin)
    columns = slice(max(0, columns.start - margin), columns.stop + margin)
    canvas[rows, columns] = np.asarray(blurred, dtype=np.float32)[rows, columns]
    return canvas, NOTHING


def _replace(case: _Case) -> tuple[Canvas, int]:
    """Something that the family does not draw; with none left outside the family, nothing at all."""
    unseen = case.world.unseen
    stranger = unseen[int(case.random.integers(len(unseen)))] if unseen else None
    return case.drawn_with(stranger), NOTHING


_DAMAGES: tuple[Callable[[_Case], tuple[Canvas, int]], ...] = (
    _fade,
    _mix,
    _halve,
    _shuffle,
    _smear,
    _replace,
)
