"""What loading leaves in the heap, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Ask glibc to return free pages; elsewhere nothing happens.

    Loading SD-Turbo reorders weights of some hundred MB at a time, in several threads. glibc keeps what they free for
    each thread's next request, and there is none: 100 MB for the rest of the process.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
