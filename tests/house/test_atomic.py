"""What training writes is whole or as it was, on a disk that takes no more too."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.atomic import save_atomically

LARGE = {"weights": torch.zeros(50_000)}
WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: torch.save(LARGE, path),
    "safetensors": lambda path: save_file(LARGE, path),
    "text": lambda path: path.write_text("x" * 200_000, encoding="utf-8"),
}


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB; the kernel then says so as it says that the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_an_oserror_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    path.write_text("the last good one")
    with pytest.raises(OSError, match=r"state: cannot be written \(.+\); what was there is as it was"):
        save_atomically(path, WRITERS[kind])
    assert path.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    twice = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_atomically(tmp_path / "x", lambda path: save_file({"a": twice, "b": twice}, path))
    assert not list(tmp_path.iterdir())
