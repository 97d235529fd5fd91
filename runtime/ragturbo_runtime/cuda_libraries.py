"""The libraries of CUDA and cuDNN: loaded before ONNX Runtime needs them, or named where they are missing."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import io
import os
import sys
import threading
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ragturbo_runtime.onnxruntime_import import import_onnxruntime

DEFAULT_CUDA = 13
"""What onnxruntime-gpu from 1.27 on is built with."""


@dataclass(frozen=True)
class LibraryState:
    """One library, after an attempt to load it."""

    name: str
    """The file's name, for example ``"libcublas.so.13"``."""
    found: str | None
    """The file that was loaded, or the bare name if the system found it; None where it cannot be loaded."""
    why: str | None
    """Why not, in the loader's words."""


def library_names(cuda: int) -> tuple[str, ...]:
    """Name what ONNX Runtime's CUDA provider needs, dependencies first.

    Args:
        cuda: The CUDA generation that ONNX Runtime was built with.

    Returns:
        File names for this system; none where NVIDIA has no CUDA for it.
    """
    fft = cuda - 1  # cuFFT counts one behind: libcufft.so.12 belongs to CUDA 13
    if sys.platform.startswith("linux"):
        names = ("cudart", cuda), ("cublasLt", cuda), ("cublas", cuda), ("nvrtc", cuda)
        return tuple(
            f"lib{name}.so.{n}" for name, n in (*names, ("cufft", fft), ("curand", 10), ("cudnn", 9))
        )
    if os.name == "nt":
        names = ("cudart", cuda), ("cublasLt", cuda), ("cublas", cuda)
        return tuple(f"{name}64_{n}.dll" for name, n in (*names, ("cufft", fft), ("cudnn", 9)))
    return ()


def try_libraries(cuda: int) -> tuple[LibraryState, ...]:
    """Load each library into this process, from the folders of NVIDIA's packages first, and say how it went."""
    folders = _package_folders()
    return tuple(_load(name, folders) for name in library_names(cuda))


@functools.cache
def preload_libraries() -> tuple[str, ...]:
    """Let ONNX Runtime load the libraries of CUDA and cuDNN, once per process.

    Returns:
        What it complained about, line by line: it prints and does not raise. What this thread printed is kept back;
        what others print meanwhile goes where it should.
    """
    onnxruntime = import_onnxruntime()

    said = _OwnThreadsText(sys.stdout)
    try:
        with redirect_stdout(said):
            onnxruntime.preload_dlls()
    except (
        Exception
    ) as exc:  # none is documented; a library that breaks while it loads is for the session to find
        return (*said.lines(), str(exc))
    return said.lines()


class _OwnThreadsText(io.TextIOBase):
    """A stdout that keeps what the thread that made it writes, and passes on what others write."""

    def __init__(self, real: TextIO | None) -> None:
        self._owner, self._real, self._text = threading.get_ident(), real, io.StringIO()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._owner:
            return self._text.write(text)
        return len(text) if self._real is None else self._real.write(text)

    def flush(self) -> None:
        if self._real is not None:
            self._real.flush()

    def lines(self) -> tuple[str, ...]:
        return tuple(line for line in map(str.strip, self._text.getvalue().splitlines()) if line)


def _package_folders() -> list[Path]:
    """Folders of libraries below ``site-packages/nvidia``, whichever packages there are."""
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else [Path(root) for root in spec.submodule_search_locations or ()]
    found = (path for root in roots for part in ("lib", "bin") for path in sorted(root.glob(f"*/{part}")))
    return [path for path in found if path.is_dir()]


def _load(name: str, folders: list[Path]) -> LibraryState:
    files = [str(folder / name) for folder in folders if (folder / name).is_file()]
    why = ""
    for candidate in (*files, name):
        try:
            ctypes.CDLL(candidate)
        except OSError as exc:
            why = why or str(exc)
        else:
            return LibraryState(name, candidate, None)
    return LibraryState(name, None, why)
