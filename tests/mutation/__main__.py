"""``make mutation``: change the code in small ways, one at a time, and see whether a test notices (mutmut).

It takes about an hour of two cores, so it is not part of ``make test``. Exit status 0: in every room at least 80 % of
the changes were noticed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.mutation.rooms import ROOMS
from tests.mutation.workplace import make_workplace

ENOUGH = 0.8
NOTICED = ("killed", "timeout", "segfault")
"""A mutant that never ends, or ends the process, does not pass for the code either."""


def main(folder: Path, jobs: int, only: list[str]) -> int:
    """Run mutmut and print a table.

    Args:
        folder: Where it works; what is done there already is not done again.
        jobs: Mutants at once.
        only: Patterns of mutants' names; all of them without one.
    """
    make_workplace(folder)
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "quick", "OMP_NUM_THREADS": "1"}
    mutmut, log = str(Path(sys.executable).with_name("mutmut")), folder / "mutmut.log"
    with log.open("w") as said:  # it draws a line for each mutant
        command = [mutmut, "run", "--max-children", str(jobs), *only]
        done = subprocess.run(command, cwd=folder, env=environment, check=False, stdout=said, stderr=said)
    if done.returncode != 0:
        print(f"mutmut ended with exit status {done.returncode}; {log} says why")
        return 2
    command = [mutmut, "results", "--all", "true"]
    listed = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return _report(dict(line.strip().split(": ", 1) for line in listed.stdout.splitlines() if ": " in line))


def _report(statuses: dict[str, str]) -> int:
    """Print a line for each room, and the mutants that nobody noticed."""
    enough = True
    for room in ROOMS:
        own = {
            mutant: status
            for mutant, status in statuses.items()
            if room.holds(mutant) and status != "not checked"
        }
        counts = Counter(own.values())
        noticed = sum(counts[status] for status in NOTICED)
        share = noticed / len(own) if own else 0.0
        enough = enough and share >= ENOUGH
        print(f"{room.name:<10}{noticed:>5} of {len(own):<5}{share:7.1%}  {dict(counts)}")
    for mutant, status in sorted(statuses.items()):
        if status not in (*NOTICED, "not checked"):
            print(f"  {status}: {mutant}")
    return 0 if enough else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/mutation"), help="default: %(default)s")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="mutants at once (default: cores)"
    )
    parser.add_argument("only", nargs="*", help='such as "ragturbo_runtime.sampler.*" (default: all)')
    options = parser.parse_args()
    sys.exit(main(options.folder, options.jobs, options.only))
