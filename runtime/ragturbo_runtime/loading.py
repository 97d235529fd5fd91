"""Opening everything that a pipeline needs, side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ragturbo_runtime.arena import share_arena
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    InvalidInputError,
    ProviderUnavailableError,
    RagTurboError,
)
from ragturbo_runtime.fitting import require_fit
from ragturbo_runtime.heap import trim_heap
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.manifest import MANIFEST_FILE, REQUIRED_GRAPHS, GraphEntry
from ragturbo_runtime.providers import CPU, cpu_device, find_device, unusable
from ragturbo_runtime.sampler import Schedule
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tokenizer import Tokenizer

logger: logging.Logger = logging.getLogger(__name__)

WORKERS = 2
"""Graphs that load at once: edge boxes have few cores, and each needs room for its weights twice while it loads."""


@dataclass(frozen=True)
class LoadProgress:
    """A graph was loaded."""

    graph: str
    """Its name, for example ``"unet_decoder"``."""
    done: int
    """Graphs that are loaded by now, this one included."""
    total: int
    """Graphs to load."""


Progress = Callable[[LoadProgress], object]


@dataclass(frozen=True)
class Parts:
    """What a bundle holds, opened.

    Attributes:
        options: What the sessions were made with; the device is the one that they really run on.
        tokenizer: Prompt to ids.
        schedule: Noise levels.
        graphs: One session per required graph.
        library: The references, or None where the bundle has none.
    """

    options: SessionOptions
    tokenizer: Tokenizer
    schedule: Schedule
    graphs: dict[str, GraphSession]
    library: Library | None


def open_parts(
    bundle: Bundle,
    *,
    device: str,
    threads: int | None = None,
    spinning: bool = True,
    memory_limit: int | None = None,
    cuda_graphs: bool = False,
    progress: Progress | None = None,
    library: Path | None = None,
) -> Parts:
    """Open the graphs, the tokenizer and the library of a bundle.

    Args:
        bundle: The bundle.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        threads: Threads per graph on the CPU; None leaves the choice to ONNX Runtime.
        spinning: Whether they wait awake within a graph.
        memory_limit: The most bytes of a card for weights and tensors, or None.
        cuda_graphs: Record and replay the graphs.
        progress: Called in this thread for each loaded graph; where "auto" falls back, it counts from 1 again. What
            it raises ends the loading.
        library: Folder of a library of the caller's; None for the bundle's own.

    Returns:
        The opened parts.

    Raises:
        InvalidInputError: The device's name cannot be read, or an option does not fit the device.
        ProviderUnavailableError: The device was asked for by name and cannot be used, or the graphs need CUDA.
        BundleCorruptError: A file is not what the manifest says, or the library does not fit the adapter.
        RetrievalError: The library cannot be read, or was made for another bundle.
    """
    found = find_device(device)
    options = SessionOptions(found, threads, spinning, memory_limit, cuda_graphs)
    try:
        return open_on(bundle, _for_device(bundle, options, device), progress, library)
    except ProviderUnavailableError as exc:
        if not found.may_fall_back:
            raise
        logger.warning("device 'auto' falls back to the CPU: %s", exc)
        options = _for_device(bundle, replace(options, device=cpu_device()), device)
        return open_on(bundle, options, progress, library)


def open_on(
    bundle: Bundle, options: SessionOptions, progress: Progress | None = None, library: Path | None = None
) -> Parts:
    """Open the parts on one device, or nothing.

    Args:
        bundle: The bundle.
        options: For the sessions.
        progress: As for ``open_parts``.
        library: As for ``open_parts``.

    Returns:
        The opened parts.

    Raises:
        ProviderUnavailableError: The sessions do not run on the device.
        BundleCorruptError: A file is not what the manifest says, or the library does not fit the adapter.
        RetrievalError: The library cannot be read, or was made for another bundle.
    """
    manifest = bundle.manifest

    def session(name: str) -> GraphSession:
        return GraphSession(name, bundle.graph_file(name), manifest.graphs[name], options)

    # ONNX Runtime and tokenizers release the GIL while they load. The largest graph first: last, it would load alone.
    names = sorted(REQUIRED_GRAPHS, key=lambda name: -_bytes(manifest.graphs[name]))
    with ExitStack() as undo:
        pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="ragturbo-load")
        undo.callback(pool.shutdown, cancel_futures=True)
        futures = {name: pool.submit(session, name) for name in names}
        tokenizer = Tokenizer.load(bundle.file(manifest.tokenizer), manifest.text.context_length)
        schedule = _read_schedule(bundle)
        opened = _open_library(bundle, library)
        if opened is not None:
            undo.callback(opened.close)
        graphs = _collect(futures, progress)
        undo.pop_all()
        pool.shutdown()
    if options.shared_arena:
        trim_heap()
    return Parts(options=options, tokenizer=tokenizer, schedule=schedule, graphs=graphs, library=opened)


def _collect(
    futures: Mapping[str, Future[GraphSession]], progress: Progress | None
) -> dict[str, GraphSession]:
    """Wait for the sessions and report each; the first that fails is raised."""
    names = {future: name for name, future in futures.items()}
    graphs = {}
    for done, future in enumerate(as_completed(names), 1):
        graphs[names[future]] = future.result()
        if progress is not None:
            progress(LoadProgress(names[future], done, len(names)))
    return graphs


def _for_device(bundle: Bundle, options: SessionOptions, asked: str) -> SessionOptions:
    """Check that bundle and options fit the device, and share its memory between the graphs."""
    graphs = bundle.manifest.graphs
    device = options.device
    if device.kind == "cpu":
        require_portable(bundle, asked)
        _refuse_on_the_cpu("memory_limit", options.memory_limit, options.memory_limit is not None)
        _refuse_on_the_cpu("cuda_graphs", options.cuda_graphs, options.cuda_graphs)
        shared = bundle.manifest.is_large and share_arena(device, None)
        return replace(options, shared_arena=shared)
    weights = sum(_bytes(graphs[name]) for name in REQUIRED_GRAPHS)
    if options.memory_limit is not None and options.memory_limit <= weights:
        raise InvalidInputError(
            f"memory_limit is {options.memory_limit}, expected more than the {weights} bytes of the weights",
            argument="memory_limit",
            hint="pass None for no limit, or use a smaller model",
        )
    # Weights lie outside the shared arena (onnxruntime#25108). A recorded graph keeps its addresses, so that others
    # must not take memory from where it does: with CUDA graphs each session needs an arena of its own.
    room = None if options.memory_limit is None else options.memory_limit - weights
    return replace(options, shared_arena=not options.cuda_graphs and share_arena(device, room))


def _bytes(graph: GraphEntry) -> int:
    return graph.file.bytes + (0 if graph.data is None else graph.data.bytes)


def _refuse_on_the_cpu(argument: str, value: object, given: bool) -> None:
    if given:
        raise InvalidInputError(
            f"{argument} is {value!r}, but the graphs run on the CPU, where it has no meaning",
            argument=argument,
            hint=f"leave {argument} out, or pass device='cuda'",
        )


def require_portable(bundle: Bundle, asked: str) -> None:
    """Refuse graphs that only the CUDA provider has the operators for.

    Args:
        bundle: The bundle; its graphs would run on the CPU.
        asked: The device as asked for.

    Raises:
        ProviderUnavailableError: A graph that drawing needs is of a CUDA flavour.
    """
    flavours = {name: bundle.manifest.graphs[name].flavour for name in REQUIRED_GRAPHS}
    bound = {name: flavour for name, flavour in flavours.items() if flavour.startswith("cuda")}
    if bound:
        made = ", ".join(f"{name} ({flavour})" for name, flavour in bound.items())
        raise unusable(
            asked, [CPU], f"bundle {bundle.manifest.name!r} was exported for CUDA: {made}", portable=True
        )


def _read_schedule(bundle: Bundle) -> Schedule:
    try:
        return Schedule.from_manifest(bundle.manifest.scheduler)
    except InvalidInputError as exc:
        path = bundle.path / MANIFEST_FILE
        raise BundleCorruptError(
            f"{MANIFEST_FILE}: scheduler: {exc.message}", path=path, hint="export the bundle again"
        ) from exc


def open_own_library(bundle: Bundle, directory: Path) -> Library:
    """Open a library of the caller's.

    Args:
        bundle: What is to read it.
        directory: Its folder.

    Raises:
        RetrievalError: It cannot be read, or was made for another bundle.
    """
    library = Library(directory)
    try:
        require_fit(bundle, library.view.layout, directory)
    except RagTurboError:
        library.close()
        raise
    return library


def _open_library(bundle: Bundle, own: Path | None) -> Library | None:
    """Open a library of the caller's, or the bundle's."""
    part = bundle.manifest.library
    if own is not None:
        return open_own_library(bundle, own)
    if part is None:
        return None
    library = open_own_library(bundle, bundle.library_directory(part))
    if library.count != part.count:
        library.close()
        raise BundleCorruptError(
            f"library: {library.count} references, {MANIFEST_FILE} says {part.count}",
            path=bundle.path,
            hint="download or export the bundle again",
        )
    return library
