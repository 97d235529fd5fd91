"""What a run learns from, wherever it comes from: a world of drawn scenes, or the user's own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragturbo_runtime.retriever import Calibration
    from training.ladd.guide import Guide
    from training.ladd.library import TrainingLibrary
    from training.ladd.masking import Masker
    from training.ladd.pairs import Pairs


@dataclass(frozen=True)
class Material:
    """Pairs, and the library that their references come from."""

    library: TrainingLibrary
    calibration: Calibration
    """From cosines to lambdas, measured on the entries that a bundle will hold."""
    training: Pairs
    held_out: Pairs
    """Of prompts that training never sees."""
    unknown: Pairs | None
    """Held-out real pairs with things that only the library shows; None where nobody can say what is unknown."""
    masker: Masker
    lent: tuple[str, ...] = ()
    """Names of the things that only the library's lent entries show."""
    guide: Guide | None = None
    """What pairs and entries show where; None where nobody can say, or nobody asks."""
