"""``python -m tests.full_size.draw BUNDLE``: three pictures, as a host draws them; what it took as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ragturbo_runtime.manifest import REQUIRED_GRAPHS, read_manifest
from ragturbo_sdk import Generator

PROMPT = "a cat left of two pizzas"


def peak_bytes() -> int:
    """The most memory that this process has had at once, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


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
    return {
        "weights": weights,
        "loaded": loaded,
        "peak": peak_bytes(),
        "references": [reference.caption for reference in one.references],
        "same": bool(np.array_equal(one.image, again.image)),
        "plain_differs": not np.array_equal(one.image, plain.image),
        "size": one.image.size,
        "timings": again.timings,
    }


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
