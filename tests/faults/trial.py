"""Loads damaged bundles, each in every way, in a process that may die of it.

    python -m tests.faults.trial BUNDLE FOLDER SEED

reads numbers of cases, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from ragturbo_sdk import Generator, RagTurboError
from tests.faults.bad_bundles import bad_bundles
from tests.faults.small_bundle import linked_copy

WAYS: tuple[Any, ...] = ("full", "fast", "off")
PROMPT, SEED = "a red circle", 3
_ROOM = 8 << 30
"""Bytes of address space: what asks for more fails, and the machine stays usable."""


def drawn(bundle: Path, verify: Any) -> str:
    """Draw one picture, and open the references that were used.

    Returns:
        ``"picture "`` and its hash, ``"error "`` and the message of an error of ours, or ``"foreign "`` and another's.
    """
    try:
        with Generator(bundle, device="cpu", threads=1, verify=verify) as generator:
            result = generator.generate(PROMPT, seed=SEED)
        picture = hashlib.sha256(result.image.tobytes()).hexdigest()
        for reference in result.references:
            reference.thumbnail()
    except RagTurboError as error:
        return f"error {error}" if error.hint else f"foreign without a hint: {error}"
    except BaseException as error:  # what Rust throws is no Exception
        return f"foreign {type(error).__module__}.{type(error).__qualname__}: {error}"
    return f"picture {picture}"


def _peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(bundle: Path, folder: Path, seed: int) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
    cases = bad_bundles(seed)
    for line in sys.stdin:
        damaged = folder / line.strip()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        cases[int(line)].damage(linked_copy(bundle, damaged))
        before = _peak()
        outcomes = {verify: drawn(damaged, verify) for verify in WAYS}
        answers.write(json.dumps({"outcomes": outcomes, "grown": _peak() - before}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
