"""What rows cost that are not timed themselves, from what was timed: a choice costs all its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.latency_parts import INJECTION, RETRIEVAL
from training.evaluation.rows import CONTROLS, NO_REFERENCES, Row

CANDIDATE_OF = {"slerp_best_1": "slerp_fixed_1", "best_of_seeds_1": "base_1"}
"""A chosen row -> the timed row that each of its candidates takes as long as."""
SAME_WORK = {
    NO_REFERENCES: "lora_only_1",
    "adapter_lambda_one_1": "adapter_1",
    "adapter_float32_1": "adapter_1",
    "adapter_float16_1": "adapter_1",
    "adapter_product_1": "adapter_1",
    "slerp_mid_input_1": "slerp_fixed_1",
}
"""A control -> the timed row that does the same work: other numbers go through the same networks."""


def timed_rows(table: list[Row]) -> list[Row]:
    """The rows to time: the table, and the controls whose work is their own."""
    return [*table, *(row for name, row in CONTROLS.items() if name not in SAME_WORK)]


def add_derived_times(document: dict[str, Any]) -> None:
    """Give ``ms`` and ``ms_from`` to rows and controls that are not timed themselves.

    A chosen row's time is its candidates' sum (``candidates`` in the row says how many), without the choice itself:
    the questions that it is chosen by. Retrieval's search is done once.

    Args:
        document: What docs/results.json holds; changed in place. Rows without what they come from stay as they are.
    """
    rows = document["rows"]
    for name, origin in CANDIDATE_OF.items():
        if name in rows and "ms" in rows.get(origin, {}) and "candidates" in rows[name]:
            rows[name] |= _sum_of(rows[origin], rows[name]["candidates"], origin)
    for name, origin in SAME_WORK.items():
        if name in document["controls"] and "ms" in rows.get(origin, {}):
            timed = {key: rows[origin][key] for key in ("ms", "ms_split") if key in rows[origin]}
            document["controls"][name] |= {**timed, "ms_from": origin}


def _sum_of(timed: Mapping[str, Any], count: int, origin: str) -> dict[str, Any]:
    derived: dict[str, Any] = {"ms": round(count * timed["ms"], 2), "ms_from": f"{count} x {origin}"}
    if split := timed.get("ms_split"):
        total, injected = derived["ms"] + split[RETRIEVAL], count * split[INJECTION]
        added = injected + split[RETRIEVAL]
        derived["ms_split"] = {
            "total": round(total, 2),
            RETRIEVAL: split[RETRIEVAL],
            INJECTION: round(injected, 2),
            "share": round(added / (total - added), 4),
        }
    return derived


def total_ms(row: Mapping[str, Any]) -> float | None:
    """Milliseconds from prompt to picture with the search, or None where nobody knows."""
    total = row.get("ms_split", {}).get("total", row.get("ms"))
    return None if total is None else float(total)
