"""One whole benchmark, from checked options to the document."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from export.benchmark.device import Device
from export.benchmark.document import floor, loading, versions
from export.benchmark.errors import BenchError, RowError
from export.benchmark.floor import count_work
from export.benchmark.groups import make_groups, together, worker_bytes
from export.benchmark.inputs import Inputs, check_optimum
from export.benchmark.job import BASELINES, OPTIMUM, OURS, PROMPT, Job
from export.benchmark.numbers import summarise
from export.benchmark.peaks import best_of, measure_peaks
from export.benchmark.rounds import Measured, Report, measure
from export.benchmark.safety import count_bad
from export.room import weight_bytes

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """What the command line asks for.

    Attributes:
        device: Where.
        rounds: Pictures per row and group.
        threads: On the CPU.
        optimum: Folder of the plain pipeline; None: one is exported.
        skip: Baselines to leave out.
        together: Workers at once; None: as many as fit.
        seeds: Of the search for bad pictures; 0: none.
    """

    device: Device
    rounds: int
    threads: int
    optimum: Path | None
    skip: Sequence[str]
    together: int | None
    seeds: int


def run(inputs: Inputs, plan: Plan, report: Report) -> dict[str, Any]:
    """Measure everything.

    Args:
        inputs: Checked.
        plan: What is asked for.
        report: Takes one line per step.

    Returns:
        One entry of docs/performance.json.

    Raises:
        BenchError: Our own chain cannot be measured, or too little memory is free.
    """
    if plan.optimum is not None:
        check_optimum(plan.optimum, inputs)
    size = together(_need(inputs, plan.device), _free(plan.device), plan.together)
    itemsize = 2 if plan.device.is_cuda else 4
    work = count_work(inputs.base, inputs.manifest, inputs.heads, itemsize)
    report("matrix peak and bandwidth")
    peaks = measure_peaks(plan.device, plan.threads)
    with _optimum_folder(inputs, plan, report) as (folder, reason):
        skipped = {row: "left out with --skip" for row in plan.skip}
        skipped |= {} if reason is None or OPTIMUM in skipped else {OPTIMUM: reason}
        rows = [row for row in BASELINES if row not in skipped]
        jobs = {row: _job(row, inputs, plan, folder) for row in (OURS, *rows)}
        measured = measure(make_groups(rows, size), jobs, plan.rounds, report)
        measured.failed |= skipped
        _require_ours(measured)
        peaks = best_of(peaks, measure_peaks(plan.device, plan.threads))
        safety = {"safety": count_bad(jobs[OURS], plan.seeds, report)} if plan.seeds else {}
    summary = summarise(measured, plan.device.min_psnr_db(rounded=inputs.is_rounded))
    about = _about(inputs, plan, min(size, 1 + len(rows)))
    return {**summary, **loading(measured), **floor(work, peaks), **about, **safety}


def _need(inputs: Inputs, device: Device) -> int:
    """Bytes of one worker, about."""
    weights = weight_bytes(inputs.base, inputs.checkpoint) // (2 if device.is_cuda else 1)
    return worker_bytes(weights, inputs.manifest.picture_height * inputs.manifest.picture_width)


def _free(device: Device) -> int:
    """Workers take memory of the machine in any case: weights pass through it."""
    return min(device.free_bytes(), int(psutil.virtual_memory().available))


def _job(row: str, inputs: Inputs, plan: Plan, optimum: Path | None) -> Job:
    return Job(
        row=row,
        device=plan.device,
        bundle=inputs.bundle,
        base=inputs.base,
        checkpoint=inputs.checkpoint,
        optimum=optimum,
        threads=plan.threads,
        latent_shape=inputs.latent_shape,
    )


def _require_ours(measured: Measured) -> None:
    if OURS in measured.failed:
        raise BenchError(f"our own chain cannot be measured: {measured.failed[OURS]}")


@contextmanager
def _optimum_folder(inputs: Inputs, plan: Plan, report: Report) -> Iterator[tuple[Path | None, str | None]]:
    """The plain pipeline, exported for this run where none was given; or why there is none."""
    if plan.optimum is not None or OPTIMUM in plan.skip:
        yield plan.optimum, None
        return
    with tempfile.TemporaryDirectory(prefix="ragturbo-optimum-") as parent:
        report("writing the plain pipeline for optimum")
        folder = Path(parent) / "pipeline"
        try:
            _export(inputs, folder)
        except RowError as error:
            yield None, str(error)
        else:
            yield folder, None


def _export(inputs: Inputs, folder: Path) -> None:
    """In a process of its own, whose memory is free again when the rows are loaded."""
    base = ["--base", str(inputs.base.resolve())]
    adapter = [] if inputs.checkpoint is None else ["--ckpt", str(inputs.checkpoint.resolve())]
    command = [
        sys.executable,
        "-m",
        "export.onnx",
        "--layout",
        "optimum",
        *base,
        *adapter,
        "--out",
        str(folder),
    ]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RowError(f"--layout optimum: {lines[-1] if lines else f'exit status {done.returncode}'}")


def _about(inputs: Inputs, plan: Plan, processes: int) -> dict[str, Any]:
    manifest = inputs.manifest
    return {
        "picture": [manifest.picture_height, manifest.picture_width],
        "flavour": inputs.flavour,
        "references": manifest.adapter.default_references,
        "prompt": PROMPT,
        "rounds": plan.rounds,
        "together": processes,
        "threads": plan.threads,
        "versions": versions(),
    }
