"""A family's config: what is wrong is named with file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.family import stages
from training.family.__main__ import main
from training.family.config import read_family_config
from training.ladd.config_file import read_ladd_config

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
        ('name = "emoji"', "", r"broken\.toml: missing keys \['name'\]"),
        ("resolution = 64", "# 64", r"broken\.toml: missing keys \['resolution'\]"),
        ("resolution = 64", 'resolution = "64"', r"broken\.toml resolution: is '64' \(str\)"),
        ('name = "emoji"', 'name = "emoji"\nlibrary_only = []', r"unknown keys \['library_only'\]"),
        ("common = [", "uncommon = [", r"broken\.toml \[world\]: unknown keys \['uncommon'\]"),
        ("library_only = [", "# [", r"broken\.toml \[world\]: missing keys \['library_only'\]"),
        ("rare_factor = 0.05", 'rare_factor = "x"', r"broken\.toml \[world\] rare_factor: is 'x' \(str\)"),
        ("rare_factor = 0.05", "rare_factor = 2", r"broken\.toml \[world\]: rare_factor is 2\.0; it must be"),
        ("[vae]", "[vea]", r"unknown keys \['vea'\]; allowed are .*'vae'"),
        ("[16, 32, 64, 96]", "16", r"\[vae\] block_out_channels: is 16 \(int\); allowed is a list of int"),
        ("pairs = 20000", "pairs = 0", r"\[student\]: pairs is 0; it must be 1 or more"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(CONFIG.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_family_config(broken)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text('name = "bare"\nresolution = 32\n', encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"bare\.toml \[world\]: missing keys \['common', 'rare', 'library_only'\]"
    ):
        read_family_config(bare)
    bare.write_text('name = "bare"\nresolution = 32\nworld = 3\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"bare\.toml: \[world\] must be a table, is 3"):
        read_family_config(bare)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (FloatingPointError("vae: loss is nan at step 3"), 2),
        (OSError("no space left on device"), 2),
        (ValueError("the folder holds scenes of another recipe"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_training_that_stops_is_one_line_and_a_status(
    raised: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(stages, "train_family", stop)
    assert main(["--config", str(CONFIG)]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(raised) in error
    assert "Traceback" not in error


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


def test_the_work_folder_is_not_the_familys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "small"
    words = ["--config", str(CONFIG.with_name("rehearsal.toml")), "--out", str(folder), "--work", str(folder)]
    assert main(words) == 2
    assert f"--work {folder}-work" in capsys.readouterr().err
    assert not folder.exists()


def test_a_config_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    assert (
        "none.toml: there is no such file; configs to copy lie in training/configs" in capsys.readouterr().err
    )


def test_the_rehearsal_is_the_bundled_family_with_hardly_a_step() -> None:
    small, whole = read_family_config(CONFIG.with_name("rehearsal.toml")), read_family_config(CONFIG)
    assert small.world == whole.world
    assert small.text.keys_steps < 10
    for stage in ("vae", "text", "teacher", "student"):
        assert getattr(small, stage).steps < 10 < getattr(whole, stage).steps
    ladd = read_ladd_config(CONFIG.with_name("ladd_rehearsal.toml"))
    assert (ladd.family, ladd.optimiser.steps) == ("runs/small", 10)
