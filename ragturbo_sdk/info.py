"""What a generator is made of, in numbers and names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragturbo_runtime.bundle import Bundle
from ragturbo_sdk._version import __version__

if TYPE_CHECKING:
    from ragturbo_sdk.library import Library


@dataclass(frozen=True)
class GeneratorInfo:
    """Model, device and limits of a generator."""

    name: str
    """The bundle's name."""
    bundle_version: str
    path: Path
    """The bundle's folder."""
    device: str
    """Where it runs: ``"cpu"`` or ``"cuda:0"``; after ``device="auto"`` this is what was found."""
    height: int
    """Of a picture, in pixels."""
    width: int
    """Of a picture, in pixels."""
    default_references: int
    """How many references a prompt gets if the call does not say; 0 without a library."""
    max_references: int
    library_size: int
    """Captioned pictures to look things up in, when it was loaded; 0 without a library."""
    flavours: Mapping[str, str]
    """How each graph was exported, by graph."""
    licences: Mapping[str, str]
    """Of the weights and of the library."""
    sdk_version: str

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def describe(bundle: Bundle, device: str, library: Library | None) -> GeneratorInfo:
    """Read off a bundle what a host may want to know.

    Args:
        bundle: The open bundle.
        device: Where its graphs run.
        library: What is looked up in, or None.

    Returns:
        The facts.
    """
    manifest = bundle.manifest
    return GeneratorInfo(
        name=manifest.name,
        bundle_version=manifest.bundle_version,
        path=bundle.path,
        device=device,
        height=manifest.picture_height,
        width=manifest.picture_width,
        default_references=manifest.adapter.default_references if library is not None else 0,
        max_references=manifest.adapter.max_references if library is not None else 0,
        library_size=0 if library is None else len(library),
        flavours={name: graph.flavour for name, graph in manifest.graphs.items()},
        licences=dict(manifest.licences),
        sdk_version=__version__,
    )
