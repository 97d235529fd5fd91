"""A LADD run's config, read from its TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.config import parse_table, read_toml
from training.ladd.config import (
    AlignmentConfig,
    DataConfig,
    LaddConfig,
    LossesConfig,
    MaskingConfig,
    OptimiserConfig,
    PairsConfig,
    RealConfig,
    RetrievalConfig,
    RunConfig,
    StudentConfig,
)

_TABLES = {
    "pairs": PairsConfig,
    "real": RealConfig,
    "data": DataConfig,
    "retrieval": RetrievalConfig,
    "masking": MaskingConfig,
    "student": StudentConfig,
    "alignment": AlignmentConfig,
    "losses": LossesConfig,
    "optimiser": OptimiserConfig,
    "run": RunConfig,
}


@dataclass(frozen=True)
class _Plain:
    """The keys above the tables."""

    family: str
    work_dir: str
    seed: int = 0


def read_ladd_config(path: Path) -> LaddConfig:
    """Read a run's TOML file.

    Args:
        path: The file; missing keys keep the defaults of `training.ladd.config`.

    Raises:
        ValueError: No TOML, an unknown or missing key, a value of another type or out of range; names file
            and key.
        FileNotFoundError: It is not there.
    """
    return parse_ladd_config(read_toml(path), path.name)


def parse_ladd_config(document: dict[str, object], where: str) -> LaddConfig:
    """Make a run's config of a parsed TOML document.

    Args:
        document: The tables and the keys above them.
        where: How errors call the document.

    Raises:
        ValueError: As `read_ladd_config`.
    """
    parts: dict[str, object] = {}
    for name, kind in _TABLES.items():
        table = document.get(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{where}: [{name}] must be a table, is {table!r}")
        parts[name] = parse_table(kind, table, f"{where} [{name}]")
    plain = parse_table(_Plain, {key: value for key, value in document.items() if key not in _TABLES}, where)
    try:
        return LaddConfig(family=plain.family, work_dir=plain.work_dir, seed=plain.seed, **parts)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
