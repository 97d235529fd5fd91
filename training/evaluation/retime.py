"""Times all rows anew and writes that into results that are there: nothing is drawn for its score.

A row's time says something beside another row's, so one quiet run times them all.
"""

from __future__ import annotations

from typing import Any

from training.evaluation.latency import measure_latency
from training.evaluation.latency_parts import measure_bundle, split_of
from training.evaluation.merge import check_protocol
from training.evaluation.publish import RESULTS, publish, read_results
from training.evaluation.results import write_json
from training.evaluation.session import Session
from training.evaluation.times import add_derived_times, timed_rows


def retime(session: Session) -> dict[str, Any]:
    """Time the rows, and write results.json and the page.

    Args:
        session: Its weights are those of the results.

    Returns:
        What results.json holds now.

    Raises:
        FileNotFoundError: There are no results.
        ValueError: They were measured otherwise; nothing was written.
    """
    settings = session.settings
    document = read_results(settings.out / RESULTS)
    check_protocol(document["protocol"], session.protocol())
    latency = measure_latency(session.artists, timed_rows(session.table()), settings.cache)
    bundle_ms = measure_bundle(session.artists, settings.cache)
    document |= {"bundle_ms": bundle_ms} if bundle_ms is not None else {}
    set_times(document, latency)
    write_json(settings.out / RESULTS, document)
    publish(document, settings.out)
    return document


def set_times(document: dict[str, Any], latency: dict[str, float]) -> None:
    """Replace every time in a document.

    Args:
        document: What results.json holds; changed in place.
        latency: Milliseconds by row and part, of one run.
    """
    for row, values in (*document["rows"].items(), *document["controls"].items()):
        for key in ("ms", "ms_split", "ms_from"):
            values.pop(key, None)
        if row in latency:
            values["ms"] = latency[row]
        if (split := split_of(row, latency)) is not None:
            values["ms_split"] = split
    add_derived_times(document)
