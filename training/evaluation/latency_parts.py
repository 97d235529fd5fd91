"""What retrieval adds to a picture, part by part: in torch for the table, and in the exported bundle as it ships."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.evaluation.references import new_search
from training.models.adapter import fuse
from training.models.slerp import combine_references, slerp
from training.models.split_unet import encode, latent_shape

if TYPE_CHECKING:
    from training.evaluation.artists import Artists

RETRIEVAL, ADAPTER, INJECTION = "retrieval", "adapter", "injection"
"""The parts: keys of the prompt and its phrases and the search; the adapter; direct injection."""
PARTS_OF_ROWS = {
    "slerp_fixed_1": (RETRIEVAL, INJECTION),
    "adapter_1": (RETRIEVAL, ADAPTER),
    "adapter_wrong_references_1": (RETRIEVAL, ADAPTER),
}
"""What is part of which row. The row's own time holds all but retrieval, which `Artists` do beforehand."""
BUNDLE_ROUNDS = 30


def timed_parts(artists: Artists) -> dict[str, Callable[[Sequence[int]], object]]:
    """Make the parts ready to be timed. Where only shapes matter, the numbers are random.

    Args:
        artists: Whose library is searched and whose adapter runs.

    Returns:
        Part -> a function of caption indices, as rows are drawn with.
    """
    family, metadata = artists.family, artists.adapter.metadata
    search, adapter = new_search(family, artists.library, metadata), artists.adapter.build_adapter()
    latents = torch.zeros(1, *latent_shape(family.unet))
    with torch.inference_mode():
        h, _ = encode(family.unet, latents, torch.zeros(1, dtype=torch.int64), family.text.encode([""])[0])
    tokens = h.shape[2] * h.shape[3] // metadata.reference_pool**2
    features = torch.randn(1, metadata.references, tokens, h.shape[1])
    others, weights = torch.randn(1, metadata.references, *h.shape[1:]), torch.ones(1, metadata.references)
    return {
        RETRIEVAL: lambda indices: search(artists.texts(indices)),
        ADAPTER: lambda _: fuse(h, adapter(h, features, weights), weights),
        INJECTION: lambda _: slerp(h, combine_references(others, weights), 0.5),
    }


def split_of(row: str, times: Mapping[str, float]) -> dict[str, float] | None:
    """Say where a row's time goes.

    Args:
        row: Its name.
        times: Row or part -> milliseconds.

    Returns:
        ``total`` with the search, each part, and ``share``: the parts' share of what the row takes without them.
        None where the row looks nothing up or was not timed.
    """
    if row not in PARTS_OF_ROWS or row not in times:
        return None
    parts = {part: times[part] for part in PARTS_OF_ROWS[row]}
    total = times[row] + times[RETRIEVAL]
    added = sum(parts.values())
    return {"total": round(total, 2), **parts, "share": round(added / max(total - added, 1e-9), 4)}


def measure_bundle(artists: Artists, cache: Path, *, rounds: int = BUNDLE_ROUNDS) -> dict[str, Any] | None:
    """Time the bundle with and without retrieval, in turns, or read what an earlier call timed.

    Args:
        artists: Their bundle; its default number of references.
        cache: Folder of kept times.
        rounds: Pictures with and without.

    Returns:
        ``on`` and ``off``, median milliseconds of a picture; ``overhead``, median of the paired differences as a share
        of ``off``; ``stages``, median milliseconds with retrieval. None without a bundle.
    """
    if artists.bundle is None:
        return None
    needs = [hash_file(artists.bundle / "manifest.json"), artists.count, rounds, artists.prompts[:rounds]]
    key = hashlib.sha256(json.dumps(needs).encode()).hexdigest()[:16]
    path = cache / f"latency-bundle-{key}.json"
    if not path.exists():
        measured = _time_bundle(artists, artists.bundle, rounds)
        save_atomically(path, lambda beside: beside.write_text(json.dumps(measured), encoding="utf-8"))
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _time_bundle(artists: Artists, bundle: Path, rounds: int) -> dict[str, Any]:
    from ragturbo_runtime.bundle import Bundle
    from ragturbo_runtime.pipeline import Pipeline
    from ragturbo_runtime.requests import DrawRequest

    timings: dict[int, list[dict[str, float]]] = {artists.count: [], 0: []}
    with Pipeline.load(Bundle.load(bundle), device="cpu") as pipeline:
        for number in range(rounds + 1):
            index = number % len(artists.prompts)
            prompts, seeds = tuple(artists.texts([index])), tuple(artists.seeds([index]))
            for references in sorted(timings, reverse=bool(number % 2)):
                request = DrawRequest(prompts, seeds, references=references)
                timings[references].append(pipeline.draw(request).timings)
    on, off = timings[artists.count][1:], timings[0][1:]  # the first ones load
    without = statistics.median(one["total"] for one in off)
    added = statistics.median(a["total"] - b["total"] for a, b in zip(on, off, strict=True))
    return {
        "on": round(statistics.median(one["total"] for one in on), 2),
        "off": round(without, 2),
        "overhead": round(added / without, 4),
        "stages": {
            stage: round(statistics.median(one[stage] for one in on), 3)
            for stage in on[0]
            if stage != "total"
        },
    }
