"""Our options in ONNX Runtime's words, and the arena that sessions can share."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from ragturbo_runtime.arena import share_arena
from ragturbo_runtime.providers import CPU, CUDA, Device, cpu_device
from ragturbo_runtime.session_options import SessionOptions

CARD = Device(name="cuda:1", kind="cuda", index=1, may_fall_back=False)
HAS_CUDA = CUDA in onnxruntime.get_available_providers()


def entry(options: SessionOptions, key: str) -> str | None:
    try:
        return str(options.for_onnxruntime().get_session_config_entry(key))
    except RuntimeError:  # not set
        return None


def test_threads_spin_within_a_graph_and_stop_at_its_end() -> None:
    options = SessionOptions(cpu_device(), threads=3)
    assert options.for_onnxruntime().intra_op_num_threads == 3
    assert entry(options, "session.force_spinning_stop") == "1"
    assert entry(options, "session.intra_op.allow_spinning") is None


def test_threads_that_must_not_spin_sleep() -> None:
    options = SessionOptions(cpu_device(), spinning=False)
    assert options.for_onnxruntime().intra_op_num_threads == 0
    assert entry(options, "session.intra_op.allow_spinning") == "0"


def test_a_card_gets_limit_and_graphs_and_the_cpu_gets_neither() -> None:
    (name, settings), (second, _) = SessionOptions(CARD, memory_limit=2**30, cuda_graphs=True).providers
    assert (name, second) == (CUDA, CPU)
    assert settings["gpu_mem_limit"] == "1073741824"
    assert settings["enable_cuda_graph"] == "1"
    assert settings["device_id"] == "1"
    (_, bare), _ = SessionOptions(CARD).providers
    assert not {"gpu_mem_limit", "enable_cuda_graph"} & bare.keys()
    assert SessionOptions(cpu_device(), memory_limit=1, cuda_graphs=True).providers == [(CPU, {})]


def test_only_the_cpu_does_not_bind() -> None:
    assert not SessionOptions(cpu_device()).binds
    assert SessionOptions(cpu_device(), bind=True).binds
    assert SessionOptions(CARD).binds


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime knows CUDA")
def test_a_build_without_the_arena_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ragturbo_runtime.arena"):
        assert share_arena(CARD, None) is False
    assert "cuda:1: each graph has an arena of its own" in caplog.text


SHARED = """
import sys, logging
from pathlib import Path
from dataclasses import replace
from ragturbo_runtime.arena import share_arena
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import InferenceError
from ragturbo_runtime.loading import open_on
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.requests import DrawRequest
from ragturbo_runtime.session_options import SessionOptions

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
limit = int(sys.argv[2]) or None
assert share_arena(cpu_device(), limit) and share_arena(cpu_device(), limit)
assert not share_arena(cpu_device(), 123456)
bundle, request = Bundle.load(sys.argv[1]), DrawRequest(("a red circle",) * 64, tuple(range(64)))
options = SessionOptions(cpu_device(), threads=1)
drawn = []
for shared in (False, True):
    with Pipeline(bundle, open_on(bundle, replace(options, shared_arena=shared))) as pipeline:
        try:
            drawn.append(pipeline.draw(request).latents.tobytes())
        except InferenceError as error:
            print(error)
print("equal" if len(drawn) == 2 and drawn[0] == drawn[1] else "one")
"""


@pytest.mark.parametrize(("limit", "answer"), [(0, "equal"), (100_000, "one")])
def test_sessions_share_one_arena_and_its_limit(nano_bundle: Path, limit: int, answer: str) -> None:
    """In a process of its own: ONNX Runtime keeps a registered arena to the end."""
    root = Path(__file__).resolve().parents[2]
    code = f"import sys; sys.path.insert(0, {str(root / 'runtime')!r})\n{SHARED}"
    command = [sys.executable, "-W", "error", "-c", code, str(nano_bundle), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "cpu: the process's arena has another limit; each graph has one of its own"
    assert lines[-1] == answer
    if limit:
        assert "draw fewer pictures at once, or raise memory_limit" in done.stdout
