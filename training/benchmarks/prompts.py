"""The prompts of the public benchmarks, read from their own files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.data.prompt_file import read_prompts
from training.data.tifa import read_text_inputs

COCO_SEPARATOR = "----"
"""Between caption id and caption in the COCO prompt list of AMD-Diffusion-Distillation."""
PARTI_COLUMNS = ("Prompt", "Category", "Challenge", "Note")
_FILE_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Prompt:
    """One prompt of a benchmark."""

    id: str
    """Its picture is called that."""
    text: str
    groups: Mapping[str, str] = field(default_factory=dict)
    """What it is also scored under, for example ``{"category": "Animals"}``."""


def read_tifa_prompts(path: Path) -> list[Prompt]:
    """Read TIFA's text inputs; an id's first part says the source (coco, partiprompt, paintskill, drawbench).

    Raises:
        ValueError: The file or an id cannot be used.
        OSError: It cannot be read.
    """
    texts = read_text_inputs(path)
    return _checked(path, [Prompt(one.id, one.caption, {"source": one.id.split("_")[0]}) for one in texts])


def read_parti_prompts(path: Path) -> list[Prompt]:
    """Read PartiPrompts.tsv; row i, counted from 1, is ``parti_i``.

    Raises:
        ValueError: Other columns, or a row that lacks some.
        OSError: It is not there, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; docs/benchmarks.md says where PartiPrompts.tsv lies"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Prompts hold bare quotation marks, which mean nothing to the format.
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    if not rows or tuple(rows[0]) != PARTI_COLUMNS:
        found = rows[0] if rows else []
        raise ValueError(f"{path}: columns {found}; PartiPrompts.tsv has {list(PARTI_COLUMNS)}, between tabs")
    prompts = []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(PARTI_COLUMNS):
            raise ValueError(f"{path}, row {number}: {len(row)} columns; {len(PARTI_COLUMNS)} are needed")
        prompts.append(Prompt(f"parti_{number}", row[0], {"category": row[1], "challenge": row[2]}))
    return _checked(path, prompts)


def read_coco_prompts(path: Path) -> list[Prompt]:
    """Read a list of captions, one a line: ``id----caption``, or the caption alone (line i is then ``coco_i``).

    Raises:
        ValueError: No prompt, no UTF-8, or an id that cannot be used.
        OSError: It cannot be read.
    """
    prompts = []
    for number, line in enumerate(read_prompts(path), start=1):
        name, separator, caption = line.partition(COCO_SEPARATOR)
        prompts.append(Prompt(f"coco_{name}", caption) if separator else Prompt(f"coco_{number}", line))
    return _checked(path, prompts)


def first_prompts(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """The first ``count`` prompts; None: all of them.

    Raises:
        ValueError: The count is less than 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"--count {count}; it must be 1 or more")
    return list(prompts[:count])


def _checked(path: Path, prompts: list[Prompt]) -> list[Prompt]:
    """Refuse what cannot be drawn, and ids that cannot name a file or name two."""
    if not prompts:
        raise ValueError(f"{path}: no prompt in it")
    for one in prompts:
        if not _FILE_NAME.fullmatch(one.id):
            raise ValueError(
                f"{path}: id {one.id!r} cannot name a picture; allowed are letters, digits and _.-, no dot first"
            )
        if not one.text.strip():
            raise ValueError(f"{path}: {one.id} has an empty prompt; write one or take it out")
    name, times = Counter(one.id for one in prompts).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{path}: id {name!r} is there {times} times; each picture needs one of its own")
    return prompts
