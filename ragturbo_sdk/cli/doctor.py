"""``ragturbo doctor``: what this machine has for drawing, what is in the way, and the cure of each problem."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.cores import usable_cores
from ragturbo_runtime.diagnosis import Machine, Problem
from ragturbo_runtime.diagnosis import examine as examine_machine
from ragturbo_runtime.errors import InvalidInputError, RagTurboError
from ragturbo_runtime.probe import probe
from ragturbo_sdk._version import __version__
from ragturbo_sdk.checks import check_library
from ragturbo_sdk.cli.checkup import bundle_problems, library_problems, memory_problem

_GIB = 2**30


@dataclass(frozen=True)
class DoctorReport:
    """What was found."""

    asked: str
    """The device that was asked for."""
    machine: Machine
    device: str | None
    """The device that a graph of the model really ran on; None where none did."""
    bundle: str
    """The model: name, version and flavours, or why it cannot be opened."""
    problems: tuple[Problem, ...]

    @property
    def can_draw(self) -> bool:
        """Whether a graph of the model ran on the device that was asked for, and nothing else is in the way."""
        return self.device is not None and not any(problem.needed_for == "all" for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """What ``ragturbo doctor --json`` prints."""
        machine = dataclasses.asdict(self.machine)
        return {
            "can_draw": self.can_draw,
            "device": {"asked": self.asked, "used": self.device},
            "system": _system(),
            "onnxruntime": {
                key: machine[key]
                for key in ("distributions", "runtime", "runtime_fault", "built_for", "providers")
            },
            "cuda": {"libraries": machine["libraries"], "driver": machine["driver"]},
            "scann": _scann(),
            "bundle": self.bundle,
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
        }

    def as_text(self) -> str:
        """The same for people."""
        lines = [f"{name:<20}{value}" for name, value in self._facts()]
        for problem in self._worth_saying():
            lines += [f"{self._mark(problem)}: {problem.what}", f"  cure: {problem.cure}"]
        if self.can_draw:
            return "\n".join([*lines, f"ragturbo can draw on {self.device}"])
        return "\n".join([*lines, f"ragturbo cannot draw on {self.asked!r}"])

    def _facts(self) -> Iterator[tuple[str, str]]:
        machine, driver = self.machine, self.machine.driver
        yield from ((name.replace("_", " "), _plain(value)) for name, value in _system().items())
        yield "onnxruntime", ", ".join(machine.distributions) or "not installed"
        yield "built for", f"CUDA {machine.built_for}" if machine.built_for else "the CPU"
        yield "providers", ", ".join(machine.providers) or "none"
        runs = f"runs CUDA {driver.cuda}" if driver.cuda else "libcuda does not load"
        yield "driver", f"{driver.version or 'unknown'}, {runs}" if driver.version or driver.cuda else "none"
        for card in driver.cards:
            free, total = card.free_bytes / _GIB, card.memory_bytes / _GIB
            yield f"card cuda:{card.index}", f"{card.name}, {free:.1f} of {total:.1f} GiB free"
        if self._cpu_will_do:
            yield "CUDA", "no NVIDIA driver, and no build of ONNX Runtime for it"
        else:
            for library in machine.libraries:
                yield library.name, library.found or f"does not load ({library.why})"
        yield "scann", _scann() or "none: exact search in numpy"
        yield "model", self.bundle

    def _worth_saying(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.needed_for != "cuda" or not self._cpu_will_do]

    @property
    def _cpu_will_do(self) -> bool:
        """Without a trace of NVIDIA, nobody who asked for the CPU wants to read what CUDA lacks."""
        driver = self.machine.driver
        nvidia = (
            driver.version or driver.cuda or self.machine.built_for or len(self.machine.distributions) > 1
        )
        return not nvidia and not self._wants_cuda

    @property
    def _wants_cuda(self) -> bool:
        """Whether CUDA is what was asked for, and did not draw."""
        return self.asked.startswith("cuda") and self.device is None

    def _mark(self, problem: Problem) -> str:
        if problem.needed_for == "cuda" and not self._wants_cuda:
            return "for CUDA"
        return "for adding" if problem.needed_for == "adding" else "problem"


def examine(
    bundle: str | Path | None = None, *, device: str = "auto", library: str | Path | None = None
) -> DoctorReport:
    """Look at the machine, at every byte of the model, and whether one of its graphs runs on the device.

    Args:
        bundle: The model's folder; None for the one that came with ragturbo.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        library: Folder of a library of the host's own, to be looked at too; None: there is none.

    Returns:
        The report: what cannot be used is in it, and not raised.

    Raises:
        InvalidInputError: The device's name cannot be read, or ``library`` is no path.
    """
    from ragturbo_sdk.generator import BUNDLED_MODEL

    own = check_library(library)
    machine = examine_machine()
    problems = machine.problems()
    used = None
    try:
        opened = Bundle.load(
            BUNDLED_MODEL if bundle is None else bundle, verify="off", sdk_version=__version__
        )
    except RagTurboError as error:
        said = error.message
        problems.append(Problem(f"the model: {error.message}", error.hint or "give another --bundle", "all"))
    else:
        manifest = opened.manifest
        flavours = sorted({graph.flavour for graph in manifest.graphs.values()})
        damaged = list(bundle_problems(opened))
        state = "damaged" if damaged else "complete"
        said = f"{manifest.name} {manifest.bundle_version} ({', '.join(flavours)}), files {state}"
        problems += [*damaged, *_of_the_host(opened, own)]
        if machine.runtime is not None:
            used, found = _try(opened, device)
            problems += found
    return DoctorReport(device, machine, used, said, tuple(problems))


def _of_the_host(bundle: Bundle, library: Path | None) -> Iterator[Problem]:
    """What is wrong with a library of the host's, and with the memory."""
    if library is not None:
        yield from library_problems(bundle, library)
    if (problem := memory_problem(bundle.manifest, _free_memory())) is not None:
        yield problem


def _try(bundle: Bundle, device: str) -> tuple[str | None, list[Problem]]:
    """Run one small graph on the device; name the device, or the problem."""
    try:
        return probe(bundle, device=device), []
    except InvalidInputError:
        raise
    except RagTurboError as error:
        # What stands in brackets is said by the facts and the other problems.
        what, _, _ = error.message.partition(" (installed: ")
        cure = (error.hint or "see the other problems").removesuffix("; ragturbo doctor tells everything")
        return None, [Problem(what, cure, "all")]


def _system() -> dict[str, Any]:
    """Facts that have nothing to do with CUDA."""
    return {
        "ragturbo": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "free_memory_bytes": _free_memory(),
    }


def _free_memory() -> int | None:
    """Bytes that a new program can have without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(found.split()[1]) * 1024


def _scann() -> str | None:
    try:
        return metadata.version("scann")
    except metadata.PackageNotFoundError:
        return None


def _plain(value: object) -> str:
    return "unknown" if value is None else str(value)
