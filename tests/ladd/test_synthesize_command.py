"""The command that lets any teacher draw any prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data.prompt_file import read_prompts
from training.family.folder import load_family, load_teacher
from training.ladd.pairs import PairShards
from training.ladd.synthesize import synthesize_pairs
from training.synthesize import main


def run(family_path: Path, folder: Path, **changed: str) -> int:
    (folder / "prompts.txt").write_text("a cat\n\n  two dogs at night \n", encoding="utf-8")
    options = {
        "family": str(family_path), "prompts": str(folder / "prompts.txt"), "out": str(folder / "pairs"),
        "count": "5", "steps": "2", "guidance-scale": "2", "shard-size": "2", "batch": "2", **changed,
    }  # fmt: skip
    return main([word for name, value in options.items() for word in (f"--{name}", value)])


def test_pairs_are_the_teachers_of_prompt_and_seed(family_path: Path, tmp_path: Path) -> None:
    assert run(family_path, tmp_path) == 0
    files = sorted((tmp_path / "pairs").glob("*.tar"))
    assert len(files) == 3
    family, teacher = load_family(family_path), load_teacher(family_path)
    shards = PairShards.open(tmp_path / "pairs")
    pairs = shards.load(5)
    assert pairs.prompts == ("a cat", "two dogs at night", "a cat", "two dogs at night", "a cat")
    assert pairs.seeds.tolist() == [(1 << 40) + row for row in range(5)]
    (expected,) = synthesize_pairs(
        teacher, family.text, family.scheduler, ["two dogs at night"], [(1 << 40) + 3], steps=2, guidance_scale=2.0,
        latent_shape=(4, 8, 8), batch=1,
    )  # fmt: skip
    torch.testing.assert_close(
        pairs.latents[3], expected.latents[0], atol=6e-2, rtol=0
    )  # bfloat16, in another batch


def test_a_stopped_run_goes_on_and_another_recipe_is_refused(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(family_path, tmp_path) == 0
    files = sorted((tmp_path / "pairs").glob("*.tar"))
    kept, lost = files[0].stat().st_mtime_ns, files[1].read_bytes()
    files[1].unlink()
    assert run(family_path, tmp_path) == 0
    assert files[0].stat().st_mtime_ns == kept
    assert files[1].stat().st_size == len(lost)
    assert run(family_path, tmp_path, steps="3") == 2
    assert "steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no prompt in it"), (b"\n \n", "no prompt in it"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_useless_file_of_prompts_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_prompts(tmp_path / "prompts.txt")


def test_counts_below_one_are_refused(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(family_path, tmp_path, count="0") == 2
    assert "--count 0" in capsys.readouterr().err
