"""The ways in which a bundle's graphs can be written: what differs from one to the next, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir

from export.cuda_storage import store_cuda
from export.errors import ExportError
from export.graphs import GraphSpec
from export.storage import store
from export.stored import Stored
from export.translations import Table, cuda_translations, translations


@dataclass(frozen=True)
class Flavour:
    """One way to write graphs.

    Attributes:
        name: As in the manifest and on the command line.
        translations: The exporter's table of translations.
        store: Rewrites a traced graph as it must be, compares it with torch, and writes it into a folder.
        on_cpu: Whether this machine's CPU can run what was written. Where it cannot, torch encodes the library and
            draws the chain's pictures, rounding as the graphs do.
    """

    name: str
    translations: Callable[[], Table]
    store: Callable[[onnx_ir.Model, GraphSpec, Path], Stored]
    on_cpu: bool = True


def _store_portable(model: onnx_ir.Model, spec: GraphSpec, folder: Path) -> Stored:
    path, data, parity = store(model, spec, folder)
    return Stored(path, data, parity, spec.inputs, spec.outputs)


FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("portable", translations, _store_portable),
        Flavour("cuda-fp16", cuda_translations, store_cuda, on_cpu=False),
    )
}


def find_flavour(name: str) -> Flavour:
    """Return a flavour by its name.

    Raises:
        ExportError: There is none of that name.
    """
    if name not in FLAVOURS:
        raise ExportError(f"flavour is {name!r}; known: {', '.join(FLAVOURS)}")
    return FLAVOURS[name]
