"""What a study's config file says: the run whose settings are in question, the questions, and how much is spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.config import parse_table, read_toml
from training.ladd.config import LaddConfig
from training.ladd.config_file import parse_ladd_config
from training.study.settings import Questions, asked, configured, default_of

SMALLER = ("pairs", "real", "alignment", "run")
"""Tables of a run that a study may change: how much is spent, not what is in question."""


@dataclass(frozen=True)
class _Plain:
    """The keys above the tables."""

    ladd: str
    """The run's TOML file; what it says is the default."""
    work_dir: str
    """Folder of pairs and of what was measured."""
    seeds: int = 2
    """Adapters of the default setting: how far they differ is the noise."""
    prompts: int = 192
    """Validation scenes that are drawn and looked up."""


@dataclass(frozen=True)
class StudyConfig:
    """A whole study."""

    ladd: LaddConfig
    """The run, made smaller."""
    questions: Questions
    seeds: int
    prompts: int

    def __post_init__(self) -> None:
        """Refuse what nothing can be learnt from, and values that no run can use."""
        for name, value, least in (("seeds", self.seeds, 2), ("prompts", self.prompts, 2)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        if self.ladd.alignment.steps < 1 or self.ladd.real.scenes < 1:
            raise ValueError(
                "a study aligns adapters on real pairs: set [alignment] steps and [real] scenes to 1 or more"
            )
        settings = [setting for _, setting in asked(default_of(self.ladd), self.questions)]
        if not settings:
            raise ValueError("[questions] asks nothing; name values, such as reference_pool = [1, 2]")
        for setting in settings:
            configured(self.ladd, setting)


def read_study_config(path: Path) -> StudyConfig:
    """Read a study's TOML file, and the run's that it names.

    Raises:
        ValueError: No TOML, an unknown or missing key, a value of another type or out of range; names file and key.
        FileNotFoundError: It, or the run's, is not there.
    """
    document = read_toml(path)
    tables = {name: document.pop(name, {}) for name in (*SMALLER, "questions")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"{path.name}: [{name}] must be a table, is {table!r}")
    plain = parse_table(_Plain, document, path.name)
    questions = parse_table(Questions, tables["questions"], f"{path.name} [questions]")  # type: ignore[arg-type]
    run = read_toml(Path(plain.ladd))
    for name in SMALLER:
        run[name] = {**run.get(name, {}), **tables[name]}  # type: ignore[dict-item]
    ladd = parse_ladd_config({**run, "work_dir": plain.work_dir}, f"{path.name} on {Path(plain.ladd).name}")
    try:
        return StudyConfig(ladd, questions, plain.seeds, plain.prompts)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
