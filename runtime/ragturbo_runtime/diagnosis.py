"""What this machine has for running graphs on CUDA, what is in the way, and the line that cures it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from ragturbo_runtime.cuda_libraries import DEFAULT_CUDA, LibraryState, try_libraries
from ragturbo_runtime.nvidia_driver import Driver, read_driver
from ragturbo_runtime.onnxruntime_import import import_onnxruntime

CUDA_PROVIDER = "CUDAExecutionProvider"
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_REFUSES_LINKS = ("1.24.0", "1.24.1")
_DRIVERS = {12: "525", 13: "580"}  # the first driver of each CUDA generation (CUDA release notes, table 3)
INSTALL_CUDA = "pip install 'ragturbo-sdk[cuda]'"
INSTALL_CUDA_12 = "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.24.2,<1.27'"


@dataclass(frozen=True)
class Problem:
    """One thing that is in the way."""

    what: str
    cure: str
    """What to type or do."""
    needed_for: str
    """``"cuda"``: the CPU works all the same; ``"all"``: nothing can be drawn."""


@dataclass(frozen=True)
class Machine:
    """What was found."""

    distributions: tuple[str, ...]
    """Installed builds of ONNX Runtime, for example ``("onnxruntime-gpu 1.31.1",)``."""
    runtime: str | None
    """The version that is imported; None where it cannot be."""
    runtime_fault: str | None
    """Why it cannot be imported."""
    built_for: str | None
    """The CUDA that the imported build was made with, for example ``"13.0"``; None for a CPU build."""
    providers: tuple[str, ...]
    driver: Driver
    libraries: tuple[LibraryState, ...]

    @property
    def cuda_generation(self) -> int:
        """The CUDA generation that is needed: the build's, or that of the newest builds."""
        return int(self.built_for.split(".")[0]) if self.built_for else DEFAULT_CUDA

    @property
    def missing(self) -> tuple[str, ...]:
        """Libraries that cannot be loaded."""
        return tuple(library.name for library in self.libraries if library.found is None)

    def summary(self) -> str:
        """What was found, in one line."""
        built = f", built for CUDA {self.built_for}" if self.built_for else ", built without CUDA"
        return "; ".join(
            [
                f"installed: {' and '.join(self.distributions) or 'no ONNX Runtime'}{built if self.runtime else ''}",
                f"providers: {', '.join(self.providers) or 'none'}",
                _driver_line(self.driver),
                f"CUDA {self.cuda_generation} libraries that do not load: {', '.join(self.missing) or 'none'}",
            ]
        )

    def problems(self) -> list[Problem]:
        """Everything that is in the way, what must be cured first first."""
        return [*self._of_the_runtime(), *self._of_the_driver(), *self._of_the_libraries()]

    def _of_the_runtime(self) -> Iterator[Problem]:
        if self.runtime is None:
            cure = f"pip install 'ragturbo-sdk[cpu]', or {INSTALL_CUDA} for a GPU, but not both"
            yield Problem(f"ONNX Runtime cannot be imported ({self.runtime_fault})", cure, "all")
            return
        if self.runtime in _REFUSES_LINKS:
            cure = f"pip install --upgrade '{DISTRIBUTIONS[bool(self.built_for)]}!=1.24.0,!=1.24.1'"
            yield Problem(f"ONNX Runtime {self.runtime} refuses weights behind symbolic links", cure, "all")
        if len(self.distributions) > 1:
            cure = f"pip uninstall -y {' '.join(DISTRIBUTIONS)} && {INSTALL_CUDA}"
            names = " and ".join(self.distributions)
            yield Problem(f"{names} are both installed, and one hides the other", cure, "cuda")
        elif CUDA_PROVIDER not in self.providers:
            cure = f"pip uninstall -y {DISTRIBUTIONS[0]} && {INSTALL_CUDA}"
            yield Problem("the installed ONNX Runtime has no CUDA provider", cure, "cuda")

    def _of_the_driver(self) -> Iterator[Problem]:
        needed, driver = self.cuda_generation, self.driver
        newest = f"install NVIDIA's driver {_DRIVERS.get(needed, '')} or newer, which runs CUDA {needed}"
        if driver.version is None and driver.cuda is None:
            yield Problem("no NVIDIA driver was found", f"{newest}", "cuda")
        elif driver.cuda_major is None:
            cure = "reinstall the driver; in a container, start it with access to the cards (--gpus all)"
            yield Problem(f"driver {driver.version} is there, but libcuda cannot be loaded", cure, "cuda")
        elif driver.cuda_major < needed:
            old = f"; or pip uninstall -y {' '.join(DISTRIBUTIONS)} && {INSTALL_CUDA_12}"
            cure = newest + (old if driver.cuda_major == 12 else "")
            what = f"driver {driver.version or ''} runs CUDA {driver.cuda} at most, CUDA {needed} is needed"
            yield Problem(" ".join(what.split()), cure, "cuda")
        if driver.said:
            yield Problem(driver.said, "check that nvidia-smi lists the card", "cuda")

    def _of_the_libraries(self) -> Iterator[Problem]:
        if self.missing:
            twelve = self.cuda_generation == 12
            cure = INSTALL_CUDA_12 if twelve else "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.29,<1.33'"
            what = f"libraries of CUDA {self.cuda_generation} do not load: {', '.join(self.missing)}"
            yield Problem(what, cure, "cuda")


def examine() -> Machine:
    """Look at this machine. It takes up to some seconds and loads CUDA's libraries; nothing is changed."""
    runtime = fault = built_for = None
    providers: tuple[str, ...] = ()
    try:
        module = import_onnxruntime()
        runtime, built_for = module.__version__, getattr(module, "cuda_version", None) or None
        providers = tuple(module.get_available_providers())
    except Exception as exc:  # a broken installation fails in ways of its own
        fault = " ".join(str(exc).split())
    generation = int(built_for.split(".")[0]) if built_for else DEFAULT_CUDA
    return Machine(
        distributions=_distributions(),
        runtime=runtime,
        runtime_fault=fault,
        built_for=built_for,
        providers=providers,
        driver=read_driver(),
        libraries=try_libraries(generation),
    )


def _distributions() -> tuple[str, ...]:
    found = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _driver_line(driver: Driver) -> str:
    if driver.version is None and driver.cuda is None:
        return "no NVIDIA driver"
    cards = ", ".join(f"{card.index}: {card.name}" for card in driver.cards) or "not listed"
    return f"driver {driver.version or 'unknown'} (CUDA {driver.cuda or 'unknown'}), cards {cards}"
