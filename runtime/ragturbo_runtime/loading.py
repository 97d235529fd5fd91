"""Opening everything that a pipeline needs, side by side."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    InvalidInputError,
    ProviderUnavailableError,
    RagTurboError,
)
from ragturbo_runtime.library import Library
from ragturbo_runtime.manifest import MANIFEST_FILE, REQUIRED_GRAPHS
from ragturbo_runtime.providers import Device, cpu_device, find_device
from ragturbo_runtime.sampler import Schedule
from ragturbo_runtime.session import GraphSession, SessionOptions
from ragturbo_runtime.spaces import Spaces, require_spaces
from ragturbo_runtime.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a bundle holds, opened.

    Attributes:
        device: The device that the sessions really run on.
        tokenizer: Prompt to ids.
        schedule: Noise levels.
        graphs: One session per required graph.
        library: The references, or None where the bundle has none.
    """

    device: Device
    tokenizer: Tokenizer
    schedule: Schedule
    graphs: dict[str, GraphSession]
    library: Library | None


def open_parts(bundle: Bundle, *, device: str, threads: int | None) -> Parts:
    """Open the graphs, the tokenizer and the library of a bundle.

    Args:
        bundle: The bundle.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        threads: Threads per graph on the CPU; None leaves the choice to ONNX Runtime.

    Returns:
        The opened parts.

    Raises:
        InvalidInputError: The device's name cannot be read.
        ProviderUnavailableError: The device was asked for by name and cannot be used.
        BundleCorruptError: A file is not what the manifest says, or the library does not fit the adapter.
        RetrievalError: The library cannot be read, or was made for another bundle.
    """
    found = find_device(device)
    try:
        return _open_on(bundle, found, threads)
    except ProviderUnavailableError as exc:
        if not found.may_fall_back:
            raise
        logger.warning("device 'auto' falls back to the CPU: %s", exc)
        return _open_on(bundle, cpu_device(), threads)


def _open_on(bundle: Bundle, device: Device, threads: int | None) -> Parts:
    manifest = bundle.manifest
    options = SessionOptions(device=device, threads=threads)

    def session(name: str) -> GraphSession:
        return GraphSession(name, bundle.graph_file(name), manifest.graphs[name], options)

    # ONNX Runtime and tokenizers release the GIL while they load; two workers, since edge boxes have few
    # cores.
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="ragturbo-load") as pool:
        sessions = {name: pool.submit(session, name) for name in REQUIRED_GRAPHS}
        tokenizer = Tokenizer.load(bundle.file(manifest.tokenizer), manifest.text.context_length)
        schedule = _read_schedule(bundle)
        library = _open_library(bundle)
        try:
            graphs = {name: future.result() for name, future in sessions.items()}
        except RagTurboError:
            if library is not None:
                library.close()
            raise
    return Parts(device=device, tokenizer=tokenizer, schedule=schedule, graphs=graphs, library=library)


def _read_schedule(bundle: Bundle) -> Schedule:
    try:
        return Schedule.from_manifest(bundle.manifest.scheduler)
    except InvalidInputError as exc:
        path = bundle.path / MANIFEST_FILE
        raise BundleCorruptError(
            f"{MANIFEST_FILE}: scheduler: {exc.message}", path=path, hint="export the bundle again"
        ) from exc


def _open_library(bundle: Bundle) -> Library | None:
    part = bundle.manifest.library
    if part is None:
        return None
    directory = bundle.library_directory(part)
    library = Library.open(directory, part)
    try:
        _check_library(bundle, library, directory)
    except RagTurboError:
        library.close()
        raise
    return library


def _check_library(bundle: Bundle, library: Library, directory: Path) -> None:
    """Refuse a library that this bundle's graphs cannot read, or would read as something else than it is."""
    manifest = bundle.manifest
    require_spaces(library.spaces, Spaces(manifest.key_space_id, manifest.h_space_id), directory)
    found = (library.embed_dim, library.tokens, library.channels)
    expected = (manifest.text.embed_dim, manifest.adapter.tokens, manifest.adapter.channels)
    if found != expected:
        raise BundleCorruptError(
            f"library: key width, tokens, channels are {found}, the model's are {expected}",
            path=bundle.path,
            hint="export the library again with this model's encoders",
        )
