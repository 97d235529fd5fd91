"""Every bundle that somebody has damaged: what was done, and what must tell."""

from __future__ import annotations

from tests.faults.case import Case
from tests.faults.file_damage import file_cases
from tests.faults.graph_damage import graph_cases
from tests.faults.library_damage import library_cases
from tests.faults.manifest_damage import manifest_cases

SEED = 20


def bad_bundles(seed: int = SEED) -> list[Case]:
    """Return the cases, in an order that is always the same.

    Args:
        seed: Decides which bytes change.
    """
    return [*file_cases(seed), *manifest_cases(seed), *graph_cases(), *library_cases(seed)]
