"""SD-Turbo's exact shapes with random weights, exported once by the real command: some minutes on two cores."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.full_size.measured import Measured, run

NEEDED_MEMORY, NEEDED_DISK = 16 * 2**30, 14 * 2**30


@dataclass(frozen=True)
class Exported:
    path: Path
    run: Measured


@pytest.fixture(scope="session")
def sd_turbo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as it would be downloaded, with an adapter and LoRA that are not zero."""
    folder = tmp_path_factory.mktemp("full_size")
    for what, needed, free in (
        ("memory", NEEDED_MEMORY, psutil.virtual_memory().available),
        ("disk", NEEDED_DISK, shutil.disk_usage(folder).free),
    ):
        if free < needed:
            pytest.skip(f"SD-Turbo's full size needs {needed / 2**30:.0f} GiB of free {what}")
    run("-m", "training.family", "--random", "sd-turbo", "--out", str(folder / "base"), log=folder / "log")
    yield folder / "base"
    shutil.rmtree(folder)  # pytest would keep the gigabytes of the last three runs


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four captioned pictures for a library."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "text", "source", "licence"))
        for name in ("a cat", "two pizzas", "a guitar at the beach", "a big dog"):
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((512, 512)).save(folder / f"{name}.png")
            table.writerow((f"{name}.png", name, "drawn", "CC0-1.0"))
    return folder


@pytest.fixture(scope="session")
def exported(sd_turbo: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    out = tmp_path_factory.mktemp("exported")
    words = ("--ckpt", str(sd_turbo / "adapter.safetensors"), "--library", str(pictures))
    took = run("-m", "export.onnx", *words, "--out", str(out / "bundle"), log=out / "log")
    yield Exported(out / "bundle", took)
    shutil.rmtree(out)
