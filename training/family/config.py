"""What a family's config file says, one dataclass per stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.config import parse_table, read_toml
from training.data.world import World, parse_world


@dataclass(frozen=True)
class VaeConfig:
    """The picture autoencoder (diffusers' AutoencoderKL)."""

    block_out_channels: tuple[int, ...] = (16, 48, 96)
    """Channels per resolution; each but the last halves the side."""
    latent_channels: int = 4
    """Channels of the latents."""
    steps: int = 8000
    """Optimiser steps."""
    crop_share: float = 0.4
    """Share of the steps that see crops of half the side: twice as many steps a minute, and the rest refines."""
    batch: int = 32
    """Whole pictures per step; crops come in four times as many."""
    learning_rate: float = 2e-3
    """AdamW's, at its peak."""
    kl_weight: float = 1e-6
    """Weight of the KL term, per latent value."""
    decoder_steps: int = 0
    """Optimiser steps of the decoder alone, after all channels were doubled (`training.family.widen`); 0 = neither."""
    decoder_learning_rate: float = 1e-3
    """AdamW's, at its peak."""


@dataclass(frozen=True)
class TextConfig:
    """The text tower and the image tower that it is trained against (open_clip's CLIP)."""

    width: int = 128
    """Width of both towers."""
    layers: int = 3
    """Layers of each tower; the U-Net is conditioned on the last but one."""
    heads: int = 4
    """Attention heads of the text tower."""
    patch_size: int = 8
    """Side of the image tower's patches in pixels."""
    embed_dim: int = 128
    """Width of the shared space, and so of a retrieval key."""
    steps: int = 4000
    """Optimiser steps."""
    batch: int = 256
    """Pairs per step: each is told from all others."""
    learning_rate: float = 1e-3
    """AdamW's, at its peak."""
    keys_steps: int = 800
    """Optimiser steps of the last layer alone, for keys that know a name when they see one; 0 skips them."""
    keys_batch: int = 128
    """Captions per such step."""


@dataclass(frozen=True)
class TeacherConfig:
    """The many-step U-Net (diffusers' UNet2DConditionModel)."""

    block_out_channels: tuple[int, ...] = (96, 192)
    """Channels per resolution; the last is the width of the h-space."""
    attention_head_dim: int = 32
    """Width of one attention head."""
    steps: int = 16000
    """Optimiser steps: what counts, rather than samples."""
    batch: int = 32
    """Latents per step."""
    learning_rate: float = 6e-4
    """AdamW's, at its peak."""
    decay_share: float = 0.4
    """The last share of the steps, over which the learning rate decays to zero."""
    ema: float = 0.999
    """Decay of the moving average that is kept as the teacher."""
    caption_dropout: float = 0.1
    """Share of the samples with an empty caption, for classifier-free guidance."""
    high_noise_share: float = 0.5
    """Share of the samples whose timestep leans to high noise, where it is decided what is drawn."""
    latent_cache: int = 60000
    """Training scenes encoded once and used throughout."""


@dataclass(frozen=True)
class StudentConfig:
    """The one-step U-Net, distilled from pairs of the teacher's noise and latents."""

    pairs: int = 12000
    """Pairs made by the teacher, 1 or more."""
    teacher_steps: int = 8
    """Sampler steps per pair."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of the pairs; 1 is none."""
    steps: int = 3000
    """Optimiser steps."""
    batch: int = 32
    """Pairs per step."""
    learning_rate: float = 3e-4
    """AdamW's, at its peak; decays to zero."""
    ema: float = 0.998
    """Decay of the moving average that is kept as the student."""
    draft_weight: float = 0.5
    """Weight of the drafts that are read from h, of noise and of clean pictures alike."""
    clean: int = 6
    """Pairs per step whose clean latents are read from h too, 1 or more."""
    encoder_layers: int = 1
    """Layers per transformer of the encoder; the teacher has 1."""
    real_scenes: int = 0
    """Drawn scenes beside the teacher's pictures, each in four variants (`training.family.student_pairs`); 0 = none."""
    real_share: float = 0.5
    """Their share of a step's pairs."""
    inventions: int = 4096
    """Invented things that they show."""
    layout_weight: float = 0.1
    """Weight of the layouts that are read from h, of noise and of clean pictures alike; only of real scenes."""

    def __post_init__(self) -> None:
        """Refuse a number that only hours of other training would lead to."""
        for name, value in (("pairs", self.pairs), ("clean", self.clean)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")


@dataclass(frozen=True)
class LibraryConfig:
    """The scenes that retrieval looks in."""

    count: int = 2048
    """How many of the library split."""


@dataclass(frozen=True)
class FamilyConfig:
    """A whole family."""

    name: str
    resolution: int
    """Side of a picture in pixels."""
    seed: int
    world: World
    library: LibraryConfig
    vae: VaeConfig
    text: TextConfig
    teacher: TeacherConfig
    student: StudentConfig


@dataclass(frozen=True)
class _Plain:
    """The keys above the tables."""

    name: str
    resolution: int
    seed: int = 0


_TABLES = {
    "library": LibraryConfig,
    "vae": VaeConfig,
    "text": TextConfig,
    "teacher": TeacherConfig,
    "student": StudentConfig,
}


def read_family_config(path: Path) -> FamilyConfig:
    """Read a family's TOML file.

    Args:
        path: The file; missing keys keep the defaults above. ``name``, ``resolution`` and the names of ``[world]`` have
            none.

    Raises:
        ValueError: No TOML, an unknown or missing key, a value of another type or out of range; the message names file
            and key.
        FileNotFoundError: It is not there.
    """
    document, known = read_toml(path), FamilyConfig.__dataclass_fields__
    if unknown := sorted(set(document) - set(known)):
        raise ValueError(f"{path.name}: unknown keys {unknown}; allowed are {sorted(known)}")
    tables = {name: _table(document, name, path.name) for name in ("world", *_TABLES)}
    plain = parse_table(_Plain, {key: document[key] for key in document if key not in tables}, path.name)
    parts: dict[str, object] = {
        name: parse_table(kind, tables[name], f"{path.name} [{name}]") for name, kind in _TABLES.items()
    }
    parts["world"] = parse_world(tables["world"], f"{path.name} [world]")
    return FamilyConfig(name=plain.name, resolution=plain.resolution, seed=plain.seed, **parts)  # type: ignore[arg-type]


def _table(document: dict[str, object], name: str, where: str) -> dict[str, object]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{where}: [{name}] must be a table, is {table!r}")
    return table
