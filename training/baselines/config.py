"""What the baselines' config file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.config import parse_table, read_toml


@dataclass(frozen=True)
class LcmConfig:
    """The 4-step latent consistency model."""

    steps: int = 3000
    """Optimiser steps."""
    batch: int = 16
    """Latents per step."""
    learning_rate: float = 5e-5
    """AdamW's, at its peak; decays to zero."""
    ema: float = 0.995
    """Decay of the moving average that is kept."""
    guidance_scale: float = 3.0
    """Of the teacher's step that it must agree with: the model itself draws without guidance."""
    solver_steps: int = 8
    """Rungs of the DDIM ladder at the end, a power of two of 2 or more: the teacher climbs down one at a time."""

    def __post_init__(self) -> None:
        """Refuse a ladder that doubling never reaches."""
        if self.solver_steps < 2 or self.solver_steps & (self.solver_steps - 1):
            raise ValueError(f"solver_steps is {self.solver_steps}; it must be a power of two, 2 or more")


@dataclass(frozen=True)
class RdmConfig:
    """The many-step model that sees retrieved CLIP embeddings in place of the prompt's tokens."""

    steps: int = 6000
    """Optimiser steps, from the teacher's weights on."""
    batch: int = 16
    """Latents per step."""
    learning_rate: float = 4e-4
    """AdamW's, at its peak; decays to zero over the last half."""
    ema: float = 0.999
    """Decay of the moving average that is kept."""
    references: int = 4
    """Retrieved pictures; RDM trains with as many."""
    dropout: float = 0.1
    """Share of the samples that see nothing, for classifier-free guidance."""


@dataclass(frozen=True)
class _Plain:
    """The keys above the tables."""

    scenes: int = 20000


@dataclass(frozen=True)
class BaselinesConfig:
    """Both."""

    scenes: int
    """Training scenes that both see."""
    lcm: LcmConfig
    rdm: RdmConfig


_TABLES = {"lcm": LcmConfig, "rdm": RdmConfig}


def read_baselines_config(path: Path) -> BaselinesConfig:
    """Read a TOML file with ``scenes`` and the tables ``[lcm]`` and ``[rdm]``; missing keys keep the defaults above.

    Raises:
        ValueError: No TOML, an unknown key, or a value of another type; the message names file and key.
        FileNotFoundError: It is not there.
    """
    document = read_toml(path)
    plain = parse_table(_Plain, {key: document[key] for key in document if key not in _TABLES}, path.name)
    parts = {}
    for name, kind in _TABLES.items():
        table = document.get(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{path.name}: [{name}] must be a table, is {table!r}")
        parts[name] = parse_table(kind, table, f"{path.name} [{name}]")
    return BaselinesConfig(scenes=plain.scenes, **parts)  # type: ignore[arg-type]
