"""Two processes train one model: the same weights in both, from twice as many pairs a step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.ladd.conftest import SMALL_RUN
from training.parallel import Processes

WORKER = """
import sys
from pathlib import Path
import torch
from training.ladd.run import train
torch.set_num_threads(1)
out, gate = train(Path(sys.argv[1]), out=Path(sys.argv[2]))
print("gate", gate.losses["all"]["right"])
"""


def toml_of(table: dict[str, object]) -> str:
    lines = []
    for name, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{name}]", *(f"{key} = {_value(one)}" for key, one in value.items())]
        else:
            lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def launch(config: Path, out: Path, count: int) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = []
    for rank in range(count):
        environment = {
            **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count),
            "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(config), str(out)], env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    results = [worker.communicate(timeout=240) for worker in workers]
    for worker, (_, error) in zip(workers, results, strict=True):
        assert worker.returncode == 0, error[-3000:]
    return [printed for printed, _ in results]


def test_two_processes_end_with_the_same_weights(family_path: Path, tmp_path: Path) -> None:
    table: dict[str, object] = {"family": str(family_path), "work_dir": str(tmp_path / "work"), **SMALL_RUN}
    (tmp_path / "run.toml").write_text(toml_of(table))
    printed = launch(tmp_path / "run.toml", tmp_path / "two.safetensors", 2)
    assert printed[0] == printed[1], "both hold the same student"
    state = torch.load(tmp_path / "work" / "adapter" / "state.pt", weights_only=True)
    assert state["step"] == 6
    table["work_dir"] = str(tmp_path / "alone")
    (tmp_path / "run.toml").write_text(toml_of(table))
    launch(tmp_path / "run.toml", tmp_path / "one.safetensors", 1)
    two, one = (load_file(tmp_path / f"{name}.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert any(not torch.equal(two[key], one[key]) for key in two), "twice as many pairs a step"


def test_a_process_alone_changes_nothing() -> None:
    alone = Processes()
    assert (alone.count, alone.index, alone.is_main) == (1, 0, True)
    assert [alone.share(step) for step in range(3)] == [0, 1, 2]
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    alone.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert alone.any(True)
    assert not alone.any(False)
    assert alone.same(7) == 7


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_device_is_the_one_that_was_asked_for(device: str) -> None:
    assert Processes(device).device == torch.device(device)
