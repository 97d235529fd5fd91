"""What a worker is asked, and what it answers; all of it goes through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from export.benchmark.device import Device
from ragturbo_runtime.arrays import Pixels

OURS, OURS_OFF = "ours", "ours_without_retrieval"
EAGER, COMPILED, OPTIMUM = "diffusers_eager", "diffusers_compile", "optimum"
LABELS = {
    OURS: "ours, with retrieval",
    OURS_OFF: "ours, without retrieval",
    EAGER: "diffusers, eager",
    COMPILED: "diffusers, torch.compile",
    OPTIMUM: "optimum, ONNX Runtime",
}
"""Row -> what people read."""
BASELINES = (EAGER, COMPILED, OPTIMUM)
PROMPT = "a cat left of two pizzas on a blue background"
"""It names two objects: their phrases are looked up too."""
WARM_UP = 2
"""Pictures that each row draws before it counts."""


@dataclass(frozen=True)
class Job:
    """What a worker is to load.

    Attributes:
        row: `OURS` (which draws both rows of ours) or one of `BASELINES`.
        device: Where.
        bundle: Folder of the bundle.
        base: Folder of the family.
        checkpoint: adapter.safetensors whose LoRA the baselines fuse; None = the bare base.
        optimum: Folder of the plain pipeline, or None.
        threads: On the CPU.
        latent_shape: (c, h, w) of one picture's noise.
        free_before: `Device.free_bytes` before the worker started.
    """

    row: str
    device: Device
    bundle: Path
    base: Path
    checkpoint: Path | None
    optimum: Path | None
    threads: int
    latent_shape: tuple[int, int, int]
    free_before: int = 0


@dataclass(frozen=True)
class Drawn:
    """One picture."""

    milliseconds: float
    """From the prompt to the pixels."""
    pixels: Pixels
    """(H, W, 3) uint8."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by graph, where the row tells them."""


@dataclass(frozen=True)
class Loaded:
    """A worker is ready.

    Attributes:
        load_ms: From the first import to when it could draw; fusing LoRA, which a bundle has behind it, left out.
        compile_ms: The share of it that compiling took; 0 where nothing was compiled.
        peak_bytes: By row, the most memory after loading and the warm-up.
        note: What is special about the row, or nothing.
    """

    load_ms: float
    compile_ms: float
    peak_bytes: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True)
class GraphRun:
    """One graph run bare, with the very tensors of the chain."""

    graph: str
    milliseconds: float
    retrieval: bool
    """Whether the chain runs it for retrieval alone."""


class Drawer(Protocol):
    """A loaded row."""

    compile_ms: float
    preparing_ms: float
    """Time within loading that does not count."""
    note: str

    def draw(self, row: str, prompt: str, seed: int) -> Drawn:
        """Draw one picture in one step, without guidance."""
