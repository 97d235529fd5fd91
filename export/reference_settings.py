"""How the references of a bundle are taken and weighed: as an adapter was trained with them, or by default."""

from __future__ import annotations

from dataclasses import dataclass, fields

from export.errors import ExportError
from training.models.checkpoint import AdapterMetadata


@dataclass(frozen=True)
class ReferenceSettings:
    """What the exporter must know of references; without a trained adapter, the defaults of one.

    Attributes:
        channels: C of the U-Net's bottleneck.
        tokens: T, reference tokens per picture.
        references: How many there are by default.
        similarity_low: Cosine at which lambda is 0.
        similarity_high: Cosine at which lambda is 1.
        reference_timestep: Timestep in [0, N) at which the features are taken.
        reference_caption: "caption" or "empty": which prompt they are taken with.
        reference_pool: Side of the square of h-space cells whose mean is one token; 1 keeps every cell.
    """

    channels: int
    tokens: int
    references: int = AdapterMetadata.references
    similarity_low: float = AdapterMetadata.similarity_low
    similarity_high: float = AdapterMetadata.similarity_high
    reference_timestep: int = AdapterMetadata.reference_timestep
    reference_caption: str = AdapterMetadata.reference_caption
    reference_pool: int = AdapterMetadata.reference_pool

    @classmethod
    def of(cls, metadata: AdapterMetadata) -> ReferenceSettings:
        """Take them from what an adapter was trained for."""
        return cls(**{field.name: getattr(metadata, field.name) for field in fields(cls)})

    def check(self, channels: int, height: int, width: int) -> None:
        """Compare them with a base's h-space.

        Args:
            channels: C of the base.
            height: Rows of its h.
            width: Columns of its h.

        Raises:
            ExportError: They are for another h-space.
        """
        found, expected = (channels, height * width), (self.channels, self.tokens * self.reference_pool**2)
        if found != expected or height % self.reference_pool or width % self.reference_pool:
            raise ExportError(
                f"the adapter is for an h-space of {expected[0]} channels x {expected[1]} cells, "
                f"pooled by {self.reference_pool}; the base has {found[0]} x {found[1]}; "
                "give the base that it was trained on"
            )
