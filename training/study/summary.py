"""Puts the measurements of a study together: by question, against the default, beside the noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import stdev
from typing import TYPE_CHECKING, Any

import torch

from training.ladd.gate import STANDARD_ERRORS, mean_and_error
from training.study.settings import CHOICES, Setting, asked, default_of

if TYPE_CHECKING:
    from training.data.scene import Scene
    from training.data.world import World
    from training.ladd.batches import References
    from training.study.config import StudyConfig

Measured = Mapping[str, Any]
"""As `Laboratory.align` or `Laboratory.draw_bundled` gave it."""
PRINTED = ("probe", "unknown", "plain", "found", "recall", "seconds")


def make_document(
    config: StudyConfig,
    aligned: Mapping[Setting, Measured],
    bundled: Mapping[tuple[Setting, References], Measured],
    asked_for: Mapping[str, int],
) -> dict[str, Any]:
    """Make what study.json says.

    Args:
        config: The study's.
        aligned: Every trained setting.
        bundled: What the family's own adapter drew, by setting and kind of references.
        asked_for: From `count_things`.
    """
    default = default_of(config.ladd)
    repeated = [setting for setting in aligned if _is_default_but_for_seed(setting, default)]
    noise = seed_noise([float(aligned[setting]["unknown"]["right"]) for setting in repeated])
    questions: dict[str, list[dict[str, Any]]] = {choice: [] for choice in CHOICES}
    for choice, setting in asked(default, config.questions):
        row = _row(choice, setting, aligned[setting], aligned[default])
        drawn = bundled.get((setting, "right")) if choice in ("queries", "weighing") else None
        questions[choice].append(row | ({"bundled": drawn} if drawn else {}))
    return {
        "protocol": _protocol(config, asked_for),
        "default": asdict(default),
        "noise": noise,
        "seeds": [{"seed": setting.seed} | _printed(aligned[setting]) for setting in repeated],
        "bundled": {kind: bundled[default, kind] for kind in ("right", "wrong", "none")},
        "questions": {
            choice: {"verdict": _verdict(choice, rows, noise), "rows": rows}
            for choice, rows in questions.items()
            if rows
        },
    }


def seed_noise(losses: Sequence[float]) -> float:
    """How far two runs that differ in their seed alone may lie apart: two standard deviations of a difference."""
    return STANDARD_ERRORS * math.sqrt(2) * stdev(losses)


def count_things(world: World, scenes: Sequence[Scene]) -> dict[str, int]:
    """How many things of each frequency scenes ask for."""
    return dict(Counter(world.frequency(name) for scene in scenes for name in scene.concepts))


def _is_default_but_for_seed(setting: Setting, default: Setting) -> bool:
    return {**asdict(setting), "seed": default.seed} == asdict(default)


def _row(choice: str, setting: Setting, measured: Measured, default: Measured) -> dict[str, Any]:
    differences = torch.tensor(measured["right_losses"]) - torch.tensor(default["right_losses"])
    return {
        "value": getattr(setting, choice),
        "is_default": measured is default,
        "right_minus_default": mean_and_error(differences),
        **_printed(measured),
    }


def _printed(measured: Measured) -> dict[str, Any]:
    return {name: measured[name] for name in PRINTED}


def _verdict(choice: str, rows: Sequence[Measured], noise: float) -> str:
    """Whether the default has the lowest held-out loss with right references, or what has, and by how much."""
    default = next(row for row in rows if row["is_default"])
    best = min(rows, key=lambda row: float(row["right_minus_default"][0]))
    words = f"{choice}: the default is {default['value']}"
    if best is default:
        worse = [row for row in rows if row is not default]
        close = [str(row["value"]) for row in worse if not is_clear(row["right_minus_default"], noise)]
        inside = f"; inside the noise: {', '.join(close)}" if close else ""
        return f"{words}, and has the lowest held-out loss{inside}"
    gain, clear = -best["right_minus_default"][0], is_clear(best["right_minus_default"], noise)
    amount = "more than the noise" if clear else "inside the noise"
    return f"{words}; the held-out loss of {best['value']} is lower by {gain:.4f}, {amount}"


def is_clear(difference: Sequence[float], noise: float) -> bool:
    """Whether a mean difference (mean, standard error) is beyond the seeds' noise and its own."""
    mean, error = difference
    return abs(mean) > max(noise, STANDARD_ERRORS * error)


def _protocol(config: StudyConfig, asked_for: Mapping[str, int]) -> dict[str, Any]:
    ladd = config.ladd
    return {
        "command": "python -m training.study",
        "teacher-made pairs": ladd.pairs.count,
        "real scenes": ladd.real.scenes,
        "steps": ladd.alignment.steps,
        "batch": ladd.alignment.batch,
        "held-out pairs with library-only things": ladd.real.held_out,
        "held-out plain pairs": ladd.pairs.held_out,
        "validation scenes": config.prompts,
        "asked for": dict(asked_for),
    }
