"""What is known of the NVIDIA driver and the cards, without CUDA and without a package for it."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_QUERY = "index,name,memory.total,memory.free,driver_version"
_MIB = 2**20
_TIMEOUT_S = 20  # the first call after a start wakes the card up, which takes seconds


@dataclass(frozen=True)
class Card:
    """One NVIDIA card."""

    index: int
    name: str
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Driver:
    """The driver, as far as it can be asked."""

    version: str | None
    """For example ``"580.65.06"``; None where there is none, or it does not say."""
    cuda: str | None
    """The newest CUDA that it runs, for example ``"13.0"``; None where libcuda cannot be loaded."""
    cards: tuple[Card, ...]
    said: str | None
    """What nvidia-smi complained about, in one line."""

    @property
    def cuda_major(self) -> int | None:
        """The newest CUDA generation that it runs."""
        return int(self.cuda.split(".")[0]) if self.cuda else None


def read_driver() -> Driver:
    """Ask nvidia-smi, the kernel module and libcuda; each may be missing."""
    rows, said = _ask_nvidia_smi()
    cards = tuple(
        Card(int(index), name, int(total) * _MIB, int(free) * _MIB) for index, name, total, free, _ in rows
    )
    version = rows[0][4] if rows else _kernel_module_version()
    return Driver(version, _newest_cuda(), cards, said)


def _ask_nvidia_smi() -> tuple[list[list[str]], str | None]:
    """Rows of the five fields, and what went wrong; neither where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], None
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as exc:
        return [], f"nvidia-smi: {exc}"
    rows = [[field.strip() for field in row] for row in csv.reader(done.stdout.splitlines())]
    rows = [row for row in rows if len(row) == 5 and all(row[i].isdecimal() for i in (0, 2, 3))]
    failed = done.returncode != 0 or not rows
    return rows, " ".join(f"nvidia-smi: {done.stdout} {done.stderr}".split())[:300] if failed else None


def _kernel_module_version() -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        match = re.search(r"Module\s+(?:\S+\s+)*?(\d+\.[\d.]+)", _KERNEL_MODULE.read_text(encoding="utf-8"))
        return match[1] if match else None
    return None


def _newest_cuda() -> str | None:
    """What cuDriverGetVersion says: 13000 is 13.0. It touches no card."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        number = ctypes.c_int(0)
        if library.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value:
            return f"{number.value // 1000}.{number.value % 1000 // 10}"
    return None
