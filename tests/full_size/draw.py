"""``python -m tests.full_size.draw BUNDLE``: three pictures, as a host draws them, and three that it cancels."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ragturbo_runtime.manifest import REQUIRED_GRAPHS, read_manifest
from ragturbo_sdk import CancelToken, DrawProgress, GenerationCancelledError, Generator

PROMPT = "a cat left of two pizzas"


def peak_bytes() -> int:
    """The most memory that this process has had at once, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def cancel_after(generator: Generator, stage: str) -> dict[str, object]:
    """Cancel while the graph behind a stage runs: milliseconds until the call raised, and until another could draw."""
    token, reached = CancelToken(), threading.Event()

    def watch(progress: DrawProgress) -> None:
        if progress.stage == stage:
            reached.set()

    def cancel() -> float:
        reached.wait()
        time.sleep(0.2)  # the next graph is in the middle of its work
        token.cancel()
        return time.perf_counter()

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(cancel)
        try:
            generator.generate(PROMPT, seed=7, progress=watch, cancel=token)
        except GenerationCancelledError:
            raised = time.perf_counter()
        start = told.result()
    with generator._drawing._gate.inside():
        free = time.perf_counter()
    return {"stage": stage, "raised_ms": 1000 * (raised - start), "free_ms": 1000 * (free - start)}


def main(folder: Path) -> dict[str, object]:
    graphs = read_manifest(folder).graphs
    weights = sum(
        graphs[name].file.bytes + (graphs[name].data.bytes if graphs[name].data else 0)
        for name in REQUIRED_GRAPHS
    )
    with Generator(folder, device="cpu") as generator:
        loaded = peak_bytes()
        one = generator.generate(PROMPT, seed=7)
        again = generator.generate(PROMPT, seed=7)
        plain = generator.generate(PROMPT, seed=7, retrieval=False)
        peak = peak_bytes()
        cancelled = [cancel_after(generator, stage) for stage in ("text_encoder", "adapter", "unet_decoder")]
    return {
        "weights": weights,
        "loaded": loaded,
        "peak": peak,
        "cancelled": cancelled,
        "references": [reference.caption for reference in one.references],
        "same": bool(np.array_equal(one.image, again.image)),
        "plain_differs": not np.array_equal(one.image, plain.image),
        "size": one.image.size,
        "timings": again.timings,
    }


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
