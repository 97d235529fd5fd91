"""The ways in which a bundle's graphs can be written: what differs from one to the next, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir

from export.chain import CHAIN_MIN_PSNR_DB
from export.cuda_storage import store_cuda
from export.errors import ExportError
from export.graphs import GraphSpec
from export.int8_storage import MIN_PSNR_DB as INT8_MIN_PSNR_DB
from export.int8_storage import store_int8
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
        chain_psnr_db: How near the whole chain's pictures must come to torch's, dB.
    """

    name: str
    translations: Callable[[], Table]
    store: Callable[[onnx_ir.Model, GraphSpec, Path], Stored]
    on_cpu: bool = True
    chain_psnr_db: float = CHAIN_MIN_PSNR_DB


FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("portable", translations, store),
        Flavour("cpu-int8", translations, store_int8, chain_psnr_db=INT8_MIN_PSNR_DB),
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
