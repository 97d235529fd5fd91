"""Draws any prompts through an exported bundle, as a user does, with and without looking things up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest, DrawResult


class BundlePainter:
    """An exported bundle, loaded. Close it, or use it in a ``with`` block."""

    def __init__(self, folder: Path, *, device: str = "cpu", references: int | None = None) -> None:
        """Load a bundle.

        Args:
            folder: As ``python -m export.onnx`` writes it.
            device: As `Pipeline.load` knows it.
            references: How many a prompt looks up; None: the bundle's own default.

        Raises:
            RagTurboError: The bundle, its library or the device cannot be used.
            ValueError: More references than the bundle allows, or fewer than one.
        """
        bundle = Bundle.load(folder)
        adapter, library = bundle.manifest.adapter, bundle.manifest.library
        self.references = adapter.default_references if references is None else references
        if library is not None and not 1 <= self.references <= adapter.max_references:
            raise ValueError(f"--references {references}; this bundle allows 1 to {adapter.max_references}")
        if library is None and references is not None:
            raise ValueError(f"--references {references}; bundle {bundle.manifest.name!r} has no library")
        self.has_library = library is not None
        self.name = bundle.manifest.name
        self.manifest_sha256 = hash_file(bundle.path / "manifest.json")
        """Says everything about the pictures: the manifest holds the hash of every other file."""
        self._pipeline = Pipeline.load(bundle, device=device)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], *, retrieval: bool) -> DrawResult:
        """Draw each prompt from the noise of its seed, in one step.

        Args:
            prompts: B prompts, 1 to `MAX_PICTURES`.
            seeds: B seeds, 0 or more.
            retrieval: Look things up.

        Raises:
            RagTurboError: A graph failed.
        """
        references = self.references if retrieval else 0
        return self._pipeline.draw(DrawRequest(tuple(prompts), tuple(seeds), references=references))

    def __enter__(self) -> Self:
        """Return the painter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        self._pipeline.close()
