"""What is wrong with a model, with a library of the host's own, and with the memory for both: all of it, with cures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.diagnosis import Problem
from ragturbo_runtime.errors import RagTurboError
from ragturbo_runtime.fitting import require_fit
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.manifest import REQUIRED_GRAPHS, Manifest

_SHOWN = 5
"""Of a library's damaged records."""
_MIB = 2**20


def bundle_problems(bundle: Bundle) -> Iterator[Problem]:
    """Compare every file with the manifest, hashes too, and open the library.

    Args:
        bundle: The model.

    Yields:
        Each file that is missing, damaged or strange.
    """
    found = False
    for error in bundle.faults():
        found = True
        yield Problem(f"the model: {error.message}", error.hint or "export it again", "all")
    part = bundle.manifest.library
    if part is not None and not found:
        yield from _opening(bundle, bundle.library_directory(part), "the model's library")


def library_problems(bundle: Bundle, folder: Path) -> Iterator[Problem]:
    """Read every byte of a library, and see whether it belongs to the model and can be added to.

    Args:
        bundle: The model.
        folder: The library.

    Yields:
        Each thing that is wrong; one that can only be read serves for drawing.
    """
    opening = list(_opening(bundle, folder, "the library"))
    yield from opening
    if opening:
        return
    damaged = list(verify_library(folder))
    for problem in damaged[:_SHOWN]:
        yield Problem(f"the library: {problem.path}: {problem.what}", problem.cure, "all")
    if len(damaged) > _SHOWN:
        yield Problem(
            f"the library: {len(damaged)} problems in all", f"ragturbo library verify {folder}", "all"
        )
    if not os.access(folder, os.W_OK):
        cure = f"chmod -R u+w {folder}, or copy the folder to where you may write"
        yield Problem(f"the library: {folder} cannot be written, pictures cannot be added", cure, "adding")


def memory_problem(manifest: Manifest, free: int | None) -> Problem | None:
    """Hold the weights against the memory that is free.

    Args:
        manifest: The model's.
        free: Bytes that a new program can have; None where the system does not say.

    Returns:
        The problem, where not even the weights have room.
    """
    graphs = [manifest.graphs[name] for name in REQUIRED_GRAPHS]
    needed = sum(graph.file.bytes + (0 if graph.data is None else graph.data.bytes) for graph in graphs)
    if free is None or needed <= free:
        return None
    what = f"the model's weights take {needed // _MIB} MiB of memory, {free // _MIB} MiB are free"
    return Problem(what, "close other programs, add memory or swap, or use a smaller model", "all")


def _opening(bundle: Bundle, folder: Path, what: str) -> Iterator[Problem]:
    try:
        library = Library(folder)
    except RagTurboError as error:
        yield Problem(f"{what}: {error.message}", error.hint or "build it again", "all")
        return
    try:
        require_fit(bundle, library.view.layout, folder)
    except RagTurboError as error:
        yield Problem(f"{what}: {error.message}", error.hint or "build it again", "all")
    finally:
        library.close()
