"""Does this model run on that device? The answer of a small graph, instead of a guess."""

from __future__ import annotations

import logging

import numpy as np

from ragturbo_runtime.arrays import Array
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import ProviderUnavailableError
from ragturbo_runtime.loading import require_portable
from ragturbo_runtime.manifest import TensorSpec
from ragturbo_runtime.providers import Device, cpu_device, find_device
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions

logger: logging.Logger = logging.getLogger(__name__)

GRAPHS = {"cpu": ("adapter",), "cuda": ("adapter", "vae_decoder")}
"""The smallest graph; on a card also one with convolutions, which alone need cuDNN."""


def probe(bundle: Bundle, *, device: str) -> str:
    """Run a graph of a model on zeros.

    Args:
        bundle: An opened bundle.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Returns:
        The device that it ran on: ``"cpu"`` or ``"cuda:0"``; "auto" falls back as it does for drawing.

    Raises:
        InvalidInputError: The device's name cannot be read.
        ProviderUnavailableError: The device cannot be used.
        BundleCorruptError: The graph cannot be loaded.
        InferenceError: It does not run.
    """
    found = find_device(device)
    try:
        return _run_on(bundle, found, device)
    except ProviderUnavailableError as exc:
        if not found.may_fall_back:
            raise
        logger.warning("device 'auto' falls back to the CPU: %s", exc)
        return _run_on(bundle, cpu_device(), device)


def _run_on(bundle: Bundle, device: Device, asked: str) -> str:
    if device.kind == "cpu":
        require_portable(bundle, asked)
    for name in GRAPHS[device.kind]:
        spec = bundle.manifest.graphs[name]
        session = GraphSession(name, bundle.graph_file(name), spec, SessionOptions(device, threads=1))
        session.run({item.name: _zeros(item) for item in spec.inputs})
    return device.name


def _zeros(spec: TensorSpec) -> Array:
    shape = [1 if isinstance(dim, str) else dim for dim in spec.shape]
    return np.zeros(shape, dtype=spec.dtype)
