"""Forks, other processes and sleep: what works, and what says that it cannot."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ragturbo_sdk import Generator, WrongProcessError

FORK = """
import os, sys
from ragturbo_sdk import Generator, WrongProcessError
generator = Generator(sys.argv[1], device="cpu")
before = generator.generate("a red apple", seed=7).image.tobytes()
child = os.fork()
if child == 0:
    status = 1
    try:
        calls = [lambda: generator.generate("a red apple"), generator.clone, generator.warmup]
        calls.append(lambda: next(generator.stream("a red apple")))
        for call in calls:
            try:
                call()
            except WrongProcessError as error:
                assert "spawn" in error.hint, error.hint
            else:
                raise AssertionError("it drew")
        generator.close()  # lets the parent's alone
        with Generator(sys.argv[1], device="cpu") as own:
            assert own.generate("a red apple", seed=7).image.tobytes() == before
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert generator.generate("a red apple", seed=7).image.tobytes() == before
generator.close()
"""

SPAWN = """
import hashlib, multiprocessing, sys
from ragturbo_sdk import Generator

def draw(seed):
    with Generator(sys.argv[1], device="cpu", threads=1 + seed % 2) as generator:
        return [hashlib.sha256(image.tobytes()).hexdigest()
                for image in generator.generate("a red apple", seed=7, num_images=2).images]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(draw, range(3))
    assert found == [draw(0)] * 3, found
"""


@pytest.mark.parametrize("host", [FORK, SPAWN], ids=["fork", "spawn"])
def test_hosts_of_several_processes(host: str, nano_bundle: Path, tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(host)
    words = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(nano_bundle)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_generator_is_not_sent_to_another_process(generator: Generator) -> None:
    for send in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(WrongProcessError, match="make one in that process"):
            send(generator)
