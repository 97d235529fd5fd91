"""What may come of a damaged bundle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.case import Case

ROOM = 256 << 20
"""Bytes that may be taken before a bundle is refused: an ONNX Runtime, the libraries of CUDA that are asked why they do
not load."""


def faults(case: Case, answer: dict[str, Any], whole: str) -> Iterator[str]:
    """Say what may not be.

    Args:
        case: The damage.
        answer: Of `tests.faults.trial`.
        whole: What the whole bundle draws.

    Yields:
        One line for each fault.
    """
    if "crash" in answer:
        yield f"{case.name}: {answer['crash']}"
        return
    if answer["grown"] > ROOM:
        yield f"{case.name}: took {answer['grown']} bytes"
    for verify, outcome in answer["outcomes"].items():
        kind = outcome.partition(" ")[0]
        if kind == "foreign":
            yield f"{case.name}, verify={verify}: {outcome}"
        elif kind == "picture" and _must_be_refused(case, verify):
            yield f"{case.name}, verify={verify}: drew a picture"
        elif kind == "picture" and outcome != whole and not _may_differ(case, verify):
            yield f"{case.name}, verify={verify}: drew another picture"


def _must_be_refused(case: Case, verify: str) -> bool:
    if case.told == "always":
        return True
    return (verify == "full" and case.told in ("full", "fast")) or (verify == "fast" and case.told == "fast")


def _may_differ(case: Case, verify: str) -> bool:
    return case.told == "nothing" or (case.draws_another and verify != "full")
