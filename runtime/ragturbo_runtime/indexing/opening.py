"""Opens what encodes pictures: of a bundle alone, or beside a pipeline that has most of it open."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import ProviderUnavailableError, RetrievalError
from ragturbo_runtime.indexing.encoder import GRAPHS, PictureEncoder, Runner
from ragturbo_runtime.providers import cpu_device, find_device
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tokenizer import Tokenizer

logger: logging.Logger = logging.getLogger(__name__)


def open_encoder(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> PictureEncoder:
    """Open the encoder of a bundle, without the graphs that only drawing needs.

    Args:
        bundle: The bundle.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        threads: CPU threads per graph; None leaves the choice to ONNX Runtime.

    Returns:
        The encoder.

    Raises:
        InvalidInputError: The device's name cannot be read.
        ProviderUnavailableError: The device cannot be used.
        RetrievalError: The bundle has no graph that encodes pictures.
        BundleCorruptError: A file is not what the manifest says.
    """
    found = find_device(device)
    tokenizer = Tokenizer.load(bundle.file(bundle.manifest.tokenizer), bundle.manifest.text.context_length)
    options = SessionOptions(found, threads)
    try:
        return encoder_beside(bundle, options, tokenizer, {})
    except ProviderUnavailableError as exc:
        if not found.may_fall_back:
            raise
        logger.warning("device 'auto' falls back to the CPU: %s", exc)
        return encoder_beside(bundle, replace(options, device=cpu_device()), tokenizer, {})


def encoder_beside(
    bundle: Bundle, options: SessionOptions, tokenizer: Tokenizer, opened: Mapping[str, GraphSession]
) -> PictureEncoder:
    """Open the graphs that are not open yet.

    Args:
        bundle: The bundle.
        options: For their sessions.
        tokenizer: Of the bundle.
        opened: Sessions of the bundle that may be used.

    Returns:
        The encoder.

    Raises:
        ProviderUnavailableError: The sessions do not run on the device.
        RetrievalError: The bundle has no graph that encodes pictures.
        BundleCorruptError: A file is not what the manifest says.
    """
    graphs: dict[str, Runner] = {}
    for name in GRAPHS:
        entry = bundle.manifest.graphs.get(name)
        if entry is None:
            raise RetrievalError(
                f"{bundle.path}: the bundle has no graph {name}, which encodes pictures",
                hint="export it again: python -m export.onnx writes one",
            )
        graphs[name] = opened.get(name) or GraphSession(name, bundle.graph_file(name), entry, options)
    return PictureEncoder(graphs, tokenizer, bundle.manifest.adapter)
