"""The rows of the results: who draws the benchmark, from the same prompts and the same noise.

Each row's pictures are kept, so that a stopped run goes on and a new score does not need new pictures. A
row's folder is named by a hash of everything that its pictures depend on: a retrained adapter never finds the
old one's pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.evaluation.drawing import draw_in_one_step, draw_with_teacher, with_lora
from training.evaluation.judge import Pixels
from training.evaluation.references import (
    PromptReferences,
    find_references,
    read_features,
    reference_features,
)
from training.family.folder import Family, family_hashes, load_family, load_teacher
from training.ladd.library import ReferenceFeatures, TrainingLibrary
from training.ladd.setup import encode_library, world_of
from training.models.checkpoint import AdapterCheckpoint, load_adapter

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from ragturbo_runtime.pipeline import Pipeline

ROWS = ("teacher_50", "base_1", "lora_only_1", "adapter_1", "adapter_wrong_references_1")
"""The rows of the table, in its order."""
NO_REFERENCES = "adapter_no_references_1"
"""A control beside the table: adapter and LoRA, retrieval off; what a user gets with ``retrieval=False``."""
TEACHER_STEPS = 50
BATCH = 32
FIRST_SEED = 1 << 42
"""Caption i is drawn from the noise of seed 2^42 + i: no training used it."""
WRONG_SEED = 0

Draw = Callable[[Sequence[int]], Pixels]


@dataclass(frozen=True)
class Artists:
    """Everything that draws: loaded when the first row needs it.

    Raises (from its parts):
        FileNotFoundError: The family lacks a part.
        CheckpointError: An adapter file is missing, damaged, or of another base.
        ValueError: The bundle was exported from another family or adapter.
    """

    path: Path
    """The family's folder; adapter.safetensors and lora_only.safetensors lie in it."""
    prompts: tuple[str, ...]
    bundle: Path | None = None
    """The exported bundle, or None: then the adapter's row is drawn in torch too."""
    guidance_scale: float = 3.0
    """Of the teacher."""

    @cached_property
    def family(self) -> Family:
        """The frozen base."""
        return load_family(self.path)

    @cached_property
    def adapter(self) -> AdapterCheckpoint:
        """Adapter and LoRA."""
        return load_adapter(self.path / "adapter.safetensors")

    @cached_property
    def library(self) -> TrainingLibrary:
        """The scenes that the bundle's library holds."""
        return encode_library(self.family, world_of(self.family))

    @cached_property
    def references(self) -> PromptReferences:
        """What the prompts get to see."""
        return find_references(self.family, self.library, self.adapter.metadata, self.prompts)

    @cached_property
    def features(self) -> ReferenceFeatures:
        """What the library shows in h-space."""
        return reference_features(self.family, self.library, self.adapter.metadata)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of the base's parts and of its configs."""
        return family_hashes(self.path)

    def draw(self, name: str) -> AbstractContextManager[Draw]:
        """Make ready to draw a row; the context lets go of what it loaded.

        Args:
            name: One of `ROWS`, or `NO_REFERENCES`.

        Raises:
            ValueError: No such row.
        """
        makers: dict[str, Callable[[], AbstractContextManager[Draw]]] = {
            "teacher_50": self._teacher,
            "base_1": lambda: nullcontext(self._one_step(self.family.unet)),
            "lora_only_1": self._lora_only,
            "adapter_1": lambda: self._adapter_row(references=True),
            NO_REFERENCES: lambda: self._adapter_row(references=False),
            "adapter_wrong_references_1": self._wrong_references,
        }
        if name not in makers:
            raise ValueError(f"row {name!r} is unknown; there are {', '.join(makers)}")
        return makers[name]()

    def depends_on(self, name: str) -> dict[str, Any]:
        """Everything but the code that a row's pictures depend on: files by hash, prompts, settings."""
        needs: dict[str, Any] = {"row": name, "base": self.hashes, "first_seed": FIRST_SEED}
        needs["prompts"] = hashlib.sha256("\n".join(self.prompts).encode()).hexdigest()
        if name == "teacher_50":
            weights = self.path / "teacher" / "diffusion_pytorch_model.safetensors"
            needs |= {
                "teacher": hash_file(weights),
                "guidance_scale": self.guidance_scale,
                "steps": TEACHER_STEPS,
            }
        elif name == "lora_only_1":
            needs["lora"] = hash_file(self.path / "lora_only.safetensors")
        elif name != "base_1":
            needs["adapter"] = hash_file(self.path / "adapter.safetensors")
            needs["bundle"] = hash_file(self.bundle / "manifest.json") if self.bundle else None
        return needs

    def seeds(self, indices: Sequence[int]) -> list[int]:
        """The noise of captions by index: the same for every row."""
        return [FIRST_SEED + index for index in indices]

    def texts(self, indices: Sequence[int]) -> list[str]:
        """The captions by index."""
        return [self.prompts[index] for index in indices]

    def _teacher(self) -> AbstractContextManager[Draw]:
        teacher = load_teacher(self.path)
        return nullcontext(
            lambda indices: draw_with_teacher(
                self.family,
                teacher,
                self.texts(indices),
                self.seeds(indices),
                steps=TEACHER_STEPS,
                guidance_scale=self.guidance_scale,
            )
        )

    def _one_step(self, unet: UNet2DConditionModel) -> Draw:
        return lambda indices: draw_in_one_step(self.family, unet, self.texts(indices), self.seeds(indices))

    def _lora_only(self) -> AbstractContextManager[Draw]:
        return nullcontext(
            self._one_step(with_lora(self.family, load_adapter(self.path / "lora_only.safetensors")))
        )

    def _wrong_references(self) -> AbstractContextManager[Draw]:
        return nullcontext(self._with_references(self.references.of_other_prompts(seed=WRONG_SEED)))

    def _adapter_row(self, *, references: bool) -> AbstractContextManager[Draw]:
        """Through the exported bundle where there is one: then what ships is what is measured."""
        if self.bundle is not None:
            return _BundleArtist(self, self.bundle, self.adapter.metadata.references if references else 0)
        if references:
            return nullcontext(self._with_references(self.references))
        return nullcontext(self._one_step(with_lora(self.family, self.adapter)))

    def _with_references(self, references: PromptReferences) -> Draw:
        unet, adapter = with_lora(self.family, self.adapter), self.adapter.build_adapter()

        def draw(indices: Sequence[int]) -> Pixels:
            return draw_in_one_step(
                self.family,
                unet,
                self.texts(indices),
                self.seeds(indices),
                adapter=adapter,
                reference_h=read_features(self.features, references.rows[list(indices)]),
                reference_weight=torch.from_numpy(references.weights[list(indices)]),
            )

        return draw


class _BundleArtist(AbstractContextManager[Draw]):
    """Draws through ONNX Runtime, as a user does."""

    def __init__(self, artists: Artists, bundle: Path, references: int) -> None:
        self.artists, self.bundle, self.references = artists, bundle, references
        self.pipeline: Pipeline | None = None

    def __enter__(self) -> Draw:
        from ragturbo_runtime.bundle import Bundle
        from ragturbo_runtime.pipeline import Pipeline
        from ragturbo_runtime.requests import DrawRequest

        bundle = Bundle.load(self.bundle)
        _check_bundle(bundle.manifest.family.hashes, self.artists)
        pipeline = self.pipeline = Pipeline.load(bundle, device="cpu")

        def draw(indices: Sequence[int]) -> Pixels:
            prompts, seeds = tuple(self.artists.texts(indices)), tuple(self.artists.seeds(indices))
            return pipeline.draw(DrawRequest(prompts, seeds, references=self.references)).images

        return draw

    def __exit__(self, *_: object) -> None:
        if self.pipeline is not None:
            self.pipeline.close()


def draw_row(artists: Artists, name: str, cache: Path, *, batch: int = BATCH) -> Pixels:
    """Draw a row, or what is missing of it.

    Args:
        artists: Who draws.
        name: One of `ROWS`, or `NO_REFERENCES`.
        cache: Folder of kept pictures.
        batch: Pictures at a time, and per file.

    Returns:
        (N, H, W, 3) uint8, one picture per prompt.
    """
    needs = artists.depends_on(name)
    key = hashlib.sha256(json.dumps({**needs, "batch": batch}, sort_keys=True).encode()).hexdigest()[:16]
    folder, count = cache / f"{name}-{key}", len(artists.prompts)
    parts = [list(range(first, min(first + batch, count))) for first in range(0, count, batch)]
    files = [folder / f"{part[0]:05d}.npy" for part in parts]
    if not all(file.exists() for file in files):
        with artists.draw(name) as draw, tqdm(total=count, desc=name, unit="picture") as bar:
            for part, file in zip(parts, files, strict=True):
                if not file.exists():
                    _save(file, draw(part))
                bar.update(len(part))
    return np.concatenate([np.load(file, allow_pickle=False) for file in files])


def _save(path: Path, pictures: Pixels) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as file:  # np.save would add .npy to the name
            np.save(file, pictures, allow_pickle=False)

    save_atomically(path, write)


def _check_bundle(hashes: Mapping[str, str], artists: Artists) -> None:
    expected = {**artists.hashes, "adapter": hash_file(artists.path / "adapter.safetensors")}
    if "configs" not in hashes:  # a bundle from before they were hashed
        del expected["configs"]
    for name, value in expected.items():
        if hashes.get(name) != value:
            raise ValueError(
                f"the bundle was exported from another {name} (sha256 {hashes.get(name)}) than that of "
                f"{artists.path} ({value}): export it again, or measure in torch with --bundle none"
            )
