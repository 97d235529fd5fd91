"""ragturbo doctor: everything on one page, and whether the device can be used in the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from ragturbo_runtime.manifest import read_manifest
from ragturbo_sdk import Generator, __version__
from ragturbo_sdk.cli.checkup import memory_problem
from ragturbo_sdk.cli.main import main

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
    assert "nano 0.2.0 (portable), files complete" in out


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
        "from ragturbo_sdk.cli.main import main\n"
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


def said_by(words: list[str], capsys: Captured) -> tuple[int, list[str], dict[str, str]]:
    """Exit status, lines, and the cure of each problem."""
    status = main(["doctor", *words])
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    cures = {
        line: lines[number + 1].removeprefix("  cure: ")
        for number, line in enumerate(lines)
        if line.startswith(("problem: ", "for CUDA: ", "for adding: "))
    }
    assert len(cures) == out.count("  cure: ")
    assert all(cures.values())
    return status, lines, cures


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


FILES = ("tokenizer.json", "vae_encoder/model.onnx", "unet_decoder/model.onnx", "library/records.sqlite")


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink], ids=["cut", "one byte", "deleted"])
def test_each_damaged_file_is_named_with_its_cure(
    nano_bundle_copy: Path, damage: Callable[[Path], None], capsys: Captured
) -> None:
    for file in FILES:
        damage(nano_bundle_copy / file)
    status, lines, cures = said_by(["--bundle", str(nano_bundle_copy), "--device", "cpu"], capsys)
    assert status == 1
    assert next(line for line in lines if line.startswith("model ")).endswith("files damaged")
    for file in FILES:
        cure = next(cure for what, cure in cures.items() if what.startswith(f"problem: the model: {file}: "))
        assert cure == "download or export the bundle again"
    assert lines[-1] == "ragturbo cannot draw on 'cpu'"


def test_a_digit_that_has_changed_in_the_manifest_is_a_problem(
    nano_bundle_copy: Path, capsys: Captured
) -> None:
    path = nano_bundle_copy / "manifest.json"
    path.write_text(path.read_text().replace('"default_references": 4', '"default_references": 3'))
    _, _, cures = said_by(["--bundle", str(nano_bundle_copy), "--device", "cpu"], capsys)
    assert [what.split(": ")[2] for what in cures] == [str(path)]


@NO_CUDA
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_of_a_broken_model_nobody_without_a_card_reads_of_cuda(
    nano_bundle_copy: Path, device: str, capsys: Captured
) -> None:
    cut(nano_bundle_copy / "tokenizer.json")
    _, _, cures = said_by(["--bundle", str(nano_bundle_copy), "--device", device], capsys)
    assert [what.split(": ")[2] for what in cures] == ["tokenizer.json"]


def run_doctor(words: list[str], in_front: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with a folder in front of the installed packages."""
    path = os.pathsep.join([str(in_front), str(ROOT), str(ROOT / "runtime")])
    command = [sys.executable, "-W", "error", "-m", "ragturbo_sdk", "doctor", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )


@NO_CUDA
@pytest.mark.parametrize(("device", "status", "mark"), [("cpu", 0, "for CUDA"), ("cuda", 1, "problem")])
def test_both_builds_of_onnxruntime(
    nano_bundle: Path, tmp_path: Path, device: str, status: int, mark: str
) -> None:
    """Of the second there is what pip writes beside it: that is all that tells which are installed."""
    facts = tmp_path / "onnxruntime_gpu-1.30.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.30.0\n")
    done = run_doctor(["--bundle", str(nano_bundle), "--device", device], tmp_path)
    assert (done.returncode, done.stderr) == (status, "")
    both = (
        f"onnxruntime {onnxruntime.__version__} and onnxruntime-gpu 1.30.0 are both installed, and one hides"
    )
    assert (
        f"{mark}: {both} the other\n  cure: pip uninstall -y onnxruntime onnxruntime-gpu && pip"
        in done.stdout
    )


def test_an_onnxruntime_that_does_not_load(nano_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(
        "raise ImportError('DLL load failed:\\n no such file')"
    )
    done = run_doctor(["--bundle", str(nano_bundle)], tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert (
        "problem: ONNX Runtime cannot be imported (DLL load failed: no such file)\n  cure: pip" in done.stdout
    )


@pytest.fixture
def own_library(nano_bundle: Path, tmp_path: Path) -> Path:
    with Generator(nano_bundle, device="cpu", threads=1) as generator:
        return generator.library.copy(tmp_path / "library")


def test_a_library_of_ones_own_is_looked_at(nano_bundle: Path, own_library: Path, capsys: Captured) -> None:
    words = ["--bundle", str(nano_bundle), "--device", "cpu", "--library", str(own_library)]
    assert said_by(words, capsys)[::2] == (0, {})
    flip(own_library / "features-000001.i8")
    status, _, cures = said_by(words, capsys)
    assert status == 1
    (cure,) = cures.values()
    assert cure.startswith("remove 'nano-")
    cut(own_library / "features-000001.i8")
    _, _, cures = said_by(words, capsys)
    assert [what.startswith("problem: the library: ") and "bytes, expected" in what for what in cures] == [
        True
    ]


def test_what_is_no_library_is_a_problem(nano_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    status, _, cures = said_by(
        ["--bundle", str(nano_bundle), "--device", "cpu", "--library", str(tmp_path)], capsys
    )
    assert status == 1
    assert next(iter(cures)).startswith("problem: the library: ")


@pytest.mark.skipif(os.name != "posix", reason="rights of folders")
def test_a_library_that_can_only_be_read_serves_for_drawing(
    nano_bundle: Path, own_library: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_library.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere, and would be told nothing
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    words = ["--bundle", str(nano_bundle), "--device", "cpu", "--library", str(own_library)]
    status, lines, cures = said_by(words, capsys)
    own_library.chmod(0o755)
    assert (status, lines[-1]) == (0, "ragturbo can draw on cpu")
    assert cures == {
        f"for adding: the library: {own_library} cannot be written, pictures cannot be added": f"chmod -R u+w "
        f"{own_library}, or copy the folder to where you may write"
    }


def test_weights_without_room_are_a_problem(nano_bundle: Path) -> None:
    manifest = read_manifest(nano_bundle)
    assert memory_problem(manifest, None) is None
    assert memory_problem(manifest, 2**40) is None
    problem = memory_problem(manifest, 1000)
    assert problem is not None
    assert problem.what.endswith("MiB of memory, 0 MiB are free")
    assert "close other programs" in problem.cure
