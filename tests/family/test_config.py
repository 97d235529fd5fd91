"""A family's config: what is wrong is named with file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.family.__main__ import main
from training.family.config import read_family_config

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "emoji.toml"


def test_the_bundled_family_draws_at_least_48_concepts_and_leaves_hundreds_unseen() -> None:
    config = read_family_config(CONFIG)
    assert len(config.world.names) >= 48
    assert len(config.world.unseen) >= 300
    assert config.world.rare
    assert config.world.library_only


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = ", "batches = ", r"unknown keys \['batches'\]"),
        ("learning_rate = 1e-3", 'learning_rate = "fast"', "learning_rate: is 'fast'"),
        ("resolution = 64", "resolution = 64\nsize = 3", r"unknown keys \['size'\]"),
        ('name = "emoji"', 'name = "emoji', "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(CONFIG.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_family_config(broken)


def test_the_command_line_refuses_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(tmp_path / "nowhere.toml")]) == 2
    assert main(["--random", "nano"]) == 2
    assert main([]) == 2
    error = capsys.readouterr().err
    assert "nowhere.toml" in error
    assert "--random needs --out DIR" in error
    assert "Traceback" not in error
