"""Everything that draws the benchmark, loaded when the first row needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import UNet2DConditionModel

from ragturbo_runtime.files import hash_file
from training.data.render import Pixels
from training.data.splits import scenes
from training.evaluation.drawing import (
    draw_in_one_step,
    draw_with_lcm,
    draw_with_rdm,
    draw_with_teacher,
    with_lora,
)
from training.evaluation.injection import Tap, WholeFeatures, draw_with_slerp
from training.evaluation.references import (
    PromptReferences,
    find_references,
    read_features,
    reference_features,
)
from training.family.folder import Family, family_hashes, freeze, load_family, load_teacher
from training.ladd.library import Codec, ReferenceFeatures, TrainingLibrary
from training.ladd.setup import encode_library
from training.models.checkpoint import AdapterCheckpoint, load_adapter

if TYPE_CHECKING:
    from ragturbo_runtime.pipeline import Pipeline
    from training.baselines.rdm import EmbeddedLibrary

TEACHER_STEPS = 50
LCM_STEPS = 4
RDM_REFERENCES = 4
FIRST_SEED = 1 << 42
"""Caption i is drawn from the noise of seed 2^42 + i: no training used it."""
SEED_STRIDE = 1 << 20
"""Between the seeds of one caption's candidates."""
WRONG_SEED = 0
MAKE_BASELINES = (
    "make it with: python -m training.baselines --family DIR --config training/configs/baselines_emoji.toml"
)

Draw = Callable[[Sequence[int]], Pixels]


@dataclass(frozen=True)
class Artists:
    """A family, its adapters and its baselines.

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
        return encode_library(self.family, self.family.world)

    @cached_property
    def embedded_library(self) -> EmbeddedLibrary:
        """The same, as an RDM sees it."""
        from training.baselines.rdm import embed_library

        shown = scenes(self.family.world, "library", len(self.library))
        return embed_library(self.family.text, shown, self.family.resolution)

    @cached_property
    def whole_features(self) -> WholeFeatures:
        """What the library shows in h-space, cell by cell, for direct injection."""
        return WholeFeatures(self.family, self.library)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of the base's parts and of its configs."""
        return family_hashes(self.path)

    @property
    def count(self) -> int:
        """References that a prompt gets."""
        return self.adapter.metadata.references

    def references(self, count: int) -> PromptReferences:
        """What the prompts get to see."""
        metadata = replace(self.adapter.metadata, references=count)
        return find_references(self.family, self.library, metadata, self.prompts)

    def features(self, *, pool: int | None = None, codec: Codec | None = None) -> ReferenceFeatures:
        """What the library shows in h-space, as the adapter was trained to read it, but for what is changed.

        Args:
            pool: Side of the square of cells whose mean is a token.
            codec: How they are rounded.
        """
        metadata = self.adapter.metadata
        if pool is not None:
            metadata = replace(metadata, reference_pool=pool)
        return reference_features(self.family, self.library, metadata, codec)

    def seeds(self, indices: Sequence[int], candidate: int = 0) -> list[int]:
        """The noise of captions by index: the same for every row, another one for each further candidate."""
        return [FIRST_SEED + candidate * SEED_STRIDE + index for index in indices]

    def texts(self, indices: Sequence[int]) -> list[str]:
        """The captions by index."""
        return [self.prompts[index] for index in indices]

    def with_teacher(self) -> Draw:
        """The many-step model."""
        teacher = load_teacher(self.path)
        return lambda indices: draw_with_teacher(
            self.family, teacher, self.texts(indices), self.seeds(indices),
            steps=TEACHER_STEPS, guidance_scale=self.guidance_scale,
        )  # fmt: skip

    def with_lcm(self) -> Draw:
        """The consistency model."""
        lcm = freeze(UNet2DConditionModel, self.path / "lcm")
        return lambda indices: draw_with_lcm(
            self.family, lcm, self.texts(indices), self.seeds(indices), steps=LCM_STEPS
        )

    def with_rdm(self) -> Draw:
        """The many-step model that sees retrieved CLIP embeddings."""
        rdm = freeze(UNet2DConditionModel, self.path / "rdm")

        def draw(indices: Sequence[int]) -> Pixels:
            seen = self.embedded_library.conditioning(self.family.text, self.texts(indices), RDM_REFERENCES)
            return draw_with_rdm(
                self.family,
                rdm,
                seen,
                self.seeds(indices),
                steps=TEACHER_STEPS,
                guidance_scale=self.guidance_scale,
            )

        return draw

    def with_base(self, candidate: int = 0) -> Draw:
        """The one-step base."""
        return self._one_step(self.family.unet, candidate)

    def with_lora_only(self) -> Draw:
        """The LoRA that was trained without retrieval."""
        return self._one_step(with_lora(self.family, load_adapter(self.path / "lora_only.safetensors")))

    def without_references(self) -> Draw:
        """Adapter and LoRA, retrieval off."""
        return self._one_step(with_lora(self.family, self.adapter))

    def with_slerp(self, strength: float, tap: Tap = "output") -> Draw:
        """Direct injection into the base."""
        references = self.references(self.count)
        return lambda indices: draw_with_slerp(
            self.family, self.whole_features, references, self.texts(indices), self.seeds(indices), indices,
            strength=strength, tap=tap,
        )  # fmt: skip

    def with_references(self, references: PromptReferences, features: ReferenceFeatures) -> Draw:
        """The adapter in torch."""
        unet, adapter = with_lora(self.family, self.adapter), self.adapter.build_adapter()
        return lambda indices: draw_in_one_step(
            self.family, unet, self.texts(indices), self.seeds(indices), adapter=adapter,
            reference_h=read_features(features, references.rows[list(indices)]),
            reference_weight=torch.from_numpy(references.weights[list(indices)]),
        )  # fmt: skip

    def _one_step(self, unet: UNet2DConditionModel, candidate: int = 0) -> Draw:
        return lambda indices: draw_in_one_step(
            self.family, unet, self.texts(indices), self.seeds(indices, candidate)
        )


class BundleArtist(AbstractContextManager[Draw]):
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
