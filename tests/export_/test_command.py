"""python -m export.onnx: each wrong input is one line on stderr, exit status 2, and nothing on the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.onnx import main
from training.family.folder import family_hashes
from training.models.checkpoint import load_adapter, save_adapter

ROOT = Path(__file__).parents[2]


def _refused(capsys, *arguments: object) -> str:
    """Run the command; return its only line on stderr."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture
def out(tmp_path):
    """Where a bundle would go; afterwards nothing is there, nor beside it."""
    folder = tmp_path / "out" / "bundle"
    folder.parent.mkdir()
    yield folder
    assert list(folder.parent.iterdir()) == []


def test_no_such_checkpoint(capsys, tmp_path, out):
    assert "no such file" in _refused(capsys, "--ckpt", tmp_path / "adapter.safetensors", "--out", out)


def test_a_truncated_checkpoint(capsys, tmp_path, checkpoint, out):
    damaged = tmp_path / "adapter.safetensors"
    damaged.write_bytes(checkpoint.read_bytes()[:5000])
    error = _refused(capsys, "--ckpt", damaged, "--base", checkpoint.parent, "--out", out)
    assert "not a readable safetensors file" in error


def test_another_base_is_named_by_both_hashes(capsys, tmp_path, checkpoint, out):
    other = shutil.copytree(checkpoint.parent, tmp_path / "other")
    weights = other / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    error = _refused(capsys, "--ckpt", checkpoint, "--base", other, "--out", out)
    assert "trained on another base" in error
    assert family_hashes(other)["vae"] in error
    assert family_hashes(checkpoint.parent)["vae"] in error


def test_a_folder_that_is_no_family(capsys, tmp_path, checkpoint, out):
    error = _refused(capsys, "--ckpt", checkpoint, "--base", tmp_path, "--out", out)
    assert "not a whole base family" in error
    assert "--base" in error


def test_a_lora_only_control(capsys, checkpoint, tmp_path, out):
    trained = load_adapter(checkpoint)
    control = save_adapter(tmp_path / "lora_only.safetensors", None, trained.lora_state, trained.metadata)
    error = _refused(capsys, "--ckpt", control, "--base", checkpoint.parent, "--out", out)
    assert "LoRA-only control" in error


def test_lora_of_another_rank_than_its_metadata_says(capsys, checkpoint, tmp_path, out):
    trained = load_adapter(checkpoint)
    halved = {
        name: value[..., :2, :, :] if value.ndim == 4 else value for name, value in trained.lora_state.items()
    }
    path = save_adapter(tmp_path / "odd.safetensors", trained.build_adapter(), halved, trained.metadata)
    assert "expects" in _refused(capsys, "--ckpt", path, "--base", checkpoint.parent, "--out", out)


def test_an_h_space_of_another_size(capsys, checkpoint, tmp_path, out):
    import dataclasses

    trained = load_adapter(checkpoint)
    metadata = dataclasses.replace(trained.metadata, tokens=16)
    path = save_adapter(tmp_path / "odd.safetensors", trained.build_adapter(), trained.lora_state, metadata)
    error = _refused(capsys, "--ckpt", path, "--base", checkpoint.parent, "--out", out)
    assert "64 channels x 64 cells, pooled by 2; the base has 64 x 16" in error


def test_a_folder_that_holds_something_else_is_kept(capsys, checkpoint, tmp_path):
    precious = tmp_path / "thesis.txt"
    precious.write_text("mine")
    error = _refused(capsys, "--ckpt", checkpoint, "--out", tmp_path, "--library", "none")
    assert "exists and is no bundle" in error
    assert precious.read_text() == "mine"


def test_a_place_that_cannot_be_written(capsys, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    error = _refused(capsys, "--ckpt", checkpoint, "--out", tmp_path / "file" / "bundle", "--library", "none")
    assert "cannot be written" in error


def test_a_library_folder_without_metadata(capsys, checkpoint, tmp_path, out):
    error = _refused(capsys, "--ckpt", checkpoint, "--out", out, "--library", tmp_path)
    assert "no metadata.csv, no metadata.jsonl and no .tar in it" in error


def test_an_unknown_option_is_status_two_as_well(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--ckpt", "x", "--flavour", "cuda-fp64"])
    assert caught.value.code == 2
    assert "cuda-fp64" in capsys.readouterr().err


def test_help_is_there_at_once():
    code = "import sys; sys.argv = ['x', '--help']; import export.onnx as e\ntry: e.main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--library" in done.stdout


def test_as_a_module_it_uses_the_real_onnx_package():
    """export/onnx.py must not shadow onnx: run as python -m, from the checkout, without an installation."""
    done = subprocess.run(
        [sys.executable, "-m", "export.onnx", "--ckpt", "missing.safetensors"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: missing.safetensors: there is no such file")
    )
    assert "Traceback" not in done.stderr
