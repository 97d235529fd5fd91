"""The memory that a process takes, and the most that it took: of the GPU, or of the machine."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path

import torch

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/statm")


class PeakMemory:
    """Measures stages one by one.

    Args:
        device: On a GPU it is what torch allocated there; else it is the process's resident memory, libraries and
            mapped files included.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0

    def start(self) -> int:
        """Begin a stage.

        Returns:
            Bytes in use now; on a CPU without /proc the peak so far, which then covers all stages.
        """
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        self._before = 0
        try:
            _RESET.write_text("5")  # Linux: forget the peak
            self._before = int(_STATUS.read_text().split()[1]) * resource.getpagesize()
        except OSError:
            self._before = self.peak()
        return self._before

    def peak(self) -> int:
        """The most bytes in use since `start`."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024
        # Linux counts pages per core and adds them up at leisure: its peak can lie some pages below what statm said.
        return max(self._before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
