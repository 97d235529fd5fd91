"""ragturbo doctor: everything on one page, and whether the device can be used in the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from ragturbo_sdk import __version__
from ragturbo_sdk.cli import main

ROOT = Path(__file__).resolve().parents[2]
Captured = pytest.CaptureFixture[str]
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
NO_CUDA = pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime knows CUDA")


def test_a_machine_that_can_draw(nano_bundle: Path, capsys: Captured) -> None:
    assert main(["doctor", "--bundle", str(nano_bundle), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0].split() == ["ragturbo", __version__]
    assert out.splitlines()[-1] == "ragturbo can draw on cpu"
    for fact in (
        "python",
        "platform",
        "cores",
        "free memory bytes",
        "onnxruntime",
        "providers",
        "driver",
        "scann",
    ):
        assert f"\n{fact} " in out
    assert "nano 0.1.0 (portable), files complete" in out


@NO_CUDA
def test_cuda_that_is_not_there(nano_bundle: Path, capsys: Captured) -> None:
    assert main(["doctor", "--bundle", str(nano_bundle), "--device", "cuda"]) == 1
    out = capsys.readouterr().out
    assert "\nproblem: the installed ONNX Runtime has no CUDA provider\n" in out
    assert "\n  cure: pip uninstall -y onnxruntime && pip install 'ragturbo-sdk[cuda]'\n" in out
    assert out.endswith("ragturbo cannot draw on 'cuda'\n")
    assert out.count("problem: ") == out.count("  cure: ")


def test_json_says_the_same(nano_bundle: Path, capsys: Captured) -> None:
    assert main(["doctor", "--bundle", str(nano_bundle), "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["can_draw"] is True
    assert said["device"] == {"asked": "cpu", "used": "cpu"}
    assert said["onnxruntime"]["runtime"] == onnxruntime.__version__
    assert {"libraries", "driver"} == said["cuda"].keys()
    assert said["system"]["cores"] >= 1
    for problem in said["problems"]:
        assert problem.keys() == {"what", "cure", "needed_for"}


def test_a_damaged_model_is_a_problem_and_no_error(
    nano_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["doctor", "--bundle", str(tmp_path), "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "problem: the model: " in out
    assert "no manifest.json in it" in out
    assert out.endswith("ragturbo cannot draw on 'cpu'\n")


@NO_CUDA
def test_a_model_for_cuda_needs_cuda(nano_bundle_copy: Path, capsys: Captured) -> None:
    path = nano_bundle_copy / "manifest.json"
    path.write_text(path.read_text().replace('"portable"', '"cuda-fp16"'))
    for device in ("cpu", "auto"):
        assert main(["doctor", "--bundle", str(nano_bundle_copy), "--device", device]) == 1
        out = capsys.readouterr().out
        assert f"problem: device '{device}': bundle 'nano' was exported for CUDA" in out
        assert "portable flavour" in out


@pytest.mark.parametrize("words", [["--device", "gpu"], ["--bundle", ""], ["--threads", "2"]])
def test_a_slip_is_an_error_as_elsewhere(words: list[str], capsys: Captured) -> None:
    assert main(["doctor", *words]) == 2
    assert capsys.readouterr().err.startswith("ragturbo: error: ")


def test_without_onnxruntime_it_says_so_and_how_to_get_it(nano_bundle: Path) -> None:
    code = (
        "import sys\nsys.modules['onnxruntime'] = None\n"
        "from ragturbo_sdk.cli import main\n"
        "sys.exit(main(['doctor', '--bundle', sys.argv[1]]))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    command = [sys.executable, "-W", "error", "-c", code, str(nano_bundle)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem: ONNX Runtime cannot be imported" in done.stdout
    assert "pip install 'ragturbo-sdk[cpu]'" in done.stdout
