"""Opens and searches damaged indexes, in a process that may die of it.

    python -m tests.faults.index_trial LIBRARIES FOLDER SEED

reads numbers of cases, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
from pathlib import Path

from ragturbo_runtime.index import cache
from tests.faults.index_damage import LAYOUT, directions, index_cases, stored


def searched(folder: Path) -> str:
    """Search a library's keys: ``"exactly"`` where the index was refused, ``"by the index"``, or what was raised."""
    keys = stored()
    try:
        index = cache.open_index(folder, LAYOUT, keys)
        if index is None:
            return "exactly"
        index.search(directions()[:20], 10)
    except BaseException as error:  # none of ours either: the library is whole
        return f"{type(error).__name__}: {error}"
    return "by the index"


def main(libraries: Path, folder: Path, seed: int) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    cache.EXACT_BELOW = 10
    cases = list(index_cases(libraries, seed))
    for line in sys.stdin:
        kind, case = cases[int(line)]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(libraries / kind, folder)
        case.damage(folder)
        answers.write(json.dumps({"searched": searched(folder)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
