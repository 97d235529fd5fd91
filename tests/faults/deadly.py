"""Stands for what may die or hang: case 0 is a crash of the process, case 1 never ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def main() -> None:
    """Answer like `tests.faults.trial`."""
    for line in sys.stdin:
        if line.strip() == "0":
            os.kill(os.getpid(), signal.SIGSEGV)
        if line.strip() == "1":
            time.sleep(600)
        sys.stdout.write(json.dumps({"outcomes": {}, "grown": int(line)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
