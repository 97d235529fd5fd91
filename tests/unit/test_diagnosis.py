"""What is said about a machine: real libraries, a real loader, and an nvidia-smi that a test has written."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import onnxruntime
import pytest

from ragturbo_runtime.cuda_libraries import LibraryState, library_names, try_libraries
from ragturbo_runtime.diagnosis import Machine, examine
from ragturbo_runtime.nvidia_driver import Card, Driver, read_driver
from ragturbo_runtime.providers import CPU, CUDA, unusable

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of Linux")
H200 = "0, NVIDIA H200, 143771, 142000, 580.65.06"
GOOD_DRIVER = Driver("580.65.06", "13.0", (Card(0, "NVIDIA H200", 2**37, 2**36),), None)
NO_DRIVER = Driver(None, None, (), None)
GOOD = Machine(
    distributions=("onnxruntime-gpu 1.31.1",),
    runtime="1.31.1",
    runtime_fault=None,
    built_for="13.0",
    providers=(CUDA, CPU),
    driver=GOOD_DRIVER,
    libraries=(LibraryState("libcublas.so.13", "/x/libcublas.so.13", None),),
)

NvidiaSmi = Callable[[str], None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """Puts a shell script of that name in front of everything on the path."""

    def write(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return write


@ON_LINUX
def test_cards_and_driver_are_read_off_nvidia_smi(nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi(
        f"case \"$*\" in *--query-gpu=index,name,*) printf '{H200}\\n1, NVIDIA L4, 23034, 1, 580.65.06\\n';; esac"
    )
    driver = read_driver()
    assert driver.version == "580.65.06"
    assert driver.cards == (
        Card(0, "NVIDIA H200", 143771 * 2**20, 142000 * 2**20),
        Card(1, "NVIDIA L4", 23034 * 2**20, 2**20),
    )
    assert driver.said is None


@ON_LINUX
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'NVIDIA-SMI has failed because it could not talk\n to the driver.'; exit 9",
            "could not talk to the dri",
        ),
        ("echo 'No devices were found'", "No devices were found"),
        ("echo '[N/A], x, [N/A], 0, 580'", "N/A"),
        ("kill -9 $$", "nvidia-smi:"),
    ],
)
def test_what_nvidia_smi_complains_about_is_passed_on(nvidia_smi: NvidiaSmi, script: str, said: str) -> None:
    nvidia_smi(script)
    driver = read_driver()
    assert driver.cards == ()
    assert said in str(driver.said)
    assert "\n" not in str(driver.said)
    problems = [problem.what for problem in dataclasses.replace(GOOD, driver=driver).problems()]
    assert any(said in what for what in problems)


@ON_LINUX
def test_libraries_are_named_for_the_build() -> None:
    assert {
        "libcudart.so.13",
        "libcublas.so.13",
        "libcufft.so.12",
        "libcurand.so.10",
        "libcudnn.so.9",
    } <= set(library_names(13))
    assert {"libcudart.so.12", "libcublas.so.12", "libcufft.so.11", "libcudnn.so.9"} <= set(library_names(12))


@ON_LINUX
def test_libraries_are_tried_for_real(tmp_path: Path) -> None:
    """In a process of its own, with a folder of libraries that cannot be loaded in front."""
    broken = tmp_path / "nvidia" / "cu99" / "lib"
    broken.mkdir(parents=True)
    (broken / "libcublas.so.99").write_bytes(b"no library")
    code = (
        "import json, dataclasses\n"
        "from ragturbo_runtime.cuda_libraries import try_libraries\n"
        "print(json.dumps([dataclasses.asdict(state) for state in try_libraries(99)]))"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2] / "runtime")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    states = {state["name"]: state for state in json.loads(done.stdout)}
    assert states["libcublas.so.99"]["found"] is None
    assert str(broken / "libcublas.so.99") in states["libcublas.so.99"]["why"]
    assert "cannot open shared object file" in states["libcudart.so.99"]["why"]


@ON_LINUX
def test_a_library_that_is_there_is_found() -> None:
    states = try_libraries(13)
    assert [state.name for state in states] == list(library_names(13))
    for state in states:
        assert (state.found is None) == (state.why is not None)


def test_this_machine() -> None:
    machine = examine()
    assert machine.runtime == onnxruntime.__version__
    assert machine.providers == tuple(onnxruntime.get_available_providers())
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _has(name)]
    assert [entry.split()[0] for entry in machine.distributions] == installed
    assert "\n" not in machine.summary()
    json.dumps(dataclasses.asdict(machine))


def _has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_a_good_machine_has_no_problem() -> None:
    assert GOOD.problems() == []
    assert "driver 580.65.06 (CUDA 13.0), cards 0: NVIDIA H200" in GOOD.summary()


@pytest.mark.parametrize(
    ("change", "what", "cure"),
    [
        (
            {
                "runtime": None,
                "runtime_fault": "No module named 'onnxruntime'",
                "providers": (),
                "built_for": None,
            },
            "ONNX Runtime cannot be imported",
            "pip install 'ragturbo-sdk[cpu]', or pip install 'ragturbo-sdk[cuda]' for a GPU, but not both",
        ),
        (
            {"distributions": ("onnxruntime 1.32.0", "onnxruntime-gpu 1.31.1")},
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed, and one hides the other",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'ragturbo-sdk[cuda]'",
        ),
        (
            {"distributions": ("onnxruntime 1.32.0",), "providers": (CPU,), "built_for": None},
            "the installed ONNX Runtime has no CUDA provider",
            "pip uninstall -y onnxruntime && pip install 'ragturbo-sdk[cuda]'",
        ),
        ({"driver": NO_DRIVER}, "no NVIDIA driver was found", "driver 580 or newer, which runs CUDA 13"),
        (
            {"driver": Driver("550.1", "12.4", (), None)},
            "driver 550.1 runs CUDA 12.4 at most, CUDA 13 is needed",
            "pip uninstall -y onnxruntime onnxruntime-gpu && "
            "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.24.2,<1.27'",
        ),
        (
            {"driver": Driver("450.1", "11.0", (), None)},
            "driver 450.1 runs CUDA 11.0 at most, CUDA 13 is needed",
            "driver 580 or newer",
        ),
        ({"driver": Driver("580.65.06", None, (), None)}, "libcuda cannot be loaded", "--gpus all"),
        (
            {"libraries": (LibraryState("libcurand.so.10", None, "no such file"),)},
            "libraries of CUDA 13 do not load: libcurand.so.10",
            "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.29,<1.33'",
        ),
        (
            {"runtime": "1.24.1"},
            "ONNX Runtime 1.24.1 refuses weights behind symbolic links",
            "pip install --upgrade 'onnxruntime-gpu!=1.24.0,!=1.24.1'",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_each_problem_comes_with_its_cure(change: dict[str, object], what: str, cure: str) -> None:
    problems = dataclasses.replace(GOOD, **change).problems()  # type: ignore[arg-type]
    found = [problem for problem in problems if what in problem.what]
    assert len(found) == 1, problems
    assert cure in found[0].cure


def test_builds_for_cuda_12_need_its_libraries_and_driver() -> None:
    missing = (LibraryState("libcublas.so.12", None, "no such file"),)
    older = dataclasses.replace(
        GOOD, built_for="12.8", driver=Driver("550.1", "12.4", (), None), libraries=missing
    )
    assert [problem.cure for problem in older.problems()] == [
        "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.24.2,<1.27'"
    ]


PRELOAD = """
import sys, threading, onnxruntime
from ragturbo_runtime.cuda_libraries import preload_libraries

onnxruntime.cuda_version = "99.0"  # no machine has its libraries: ONNX Runtime prints so, and does not raise
first, stop = threading.Event(), threading.Event()

def chatter():
    while not stop.is_set():
        sys.stdout.write("host\\n")
        first.set()

host = threading.Thread(target=chatter)
host.start()
first.wait()
said = preload_libraries()
stop.set()
host.join()
assert preload_libraries() is said, "once per process"
sys.stderr.write("\\n".join(said))
"""


@ON_LINUX
def test_what_the_loader_prints_is_kept_and_nothing_else() -> None:
    """Other threads of the host go on printing where they should."""
    runtime = str(Path(__file__).resolve().parents[2] / "runtime")
    command = [sys.executable, "-c", PRELOAD.replace("\\\\", "\\")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": runtime}
    )
    assert set(done.stdout.split()) == {"host"}
    assert "Failed to load libcublas.so.99: " in done.stderr
    assert "host" not in done.stderr


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this ONNX Runtime knows CUDA")
def test_the_error_says_what_was_found_what_is_needed_and_what_to_type() -> None:
    error = unusable("cuda:0", [CPU], "nothing works")
    version = onnxruntime.__version__
    assert (
        f"device 'cuda:0': nothing works (installed: onnxruntime {version}, built without CUDA"
        in error.message
    )
    assert "needed: CUDAExecutionProvider, a driver and the libraries of CUDA 13" in error.message
    assert str(error.hint).startswith(
        "pip uninstall -y onnxruntime && pip install 'ragturbo-sdk[cuda]'; or pass"
    )
    assert "\n" not in str(error)
