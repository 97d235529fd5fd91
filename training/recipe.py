"""Says beside what was made what it was made with, so that nothing stale is ever read as fresh."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.atomic import save_atomically
from training.differences import differences


def digest_of(lines: Iterable[str]) -> str:
    """The sha256, hex, of some lines of text: says in a recipe which ones they were."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_recipe(path: Path, recipe: Mapping[str, object]) -> None:
    """Write a recipe, whole or not at all.

    Args:
        path: The JSON file beside what was made.
        recipe: JSON values.
    """
    text = json.dumps(recipe, indent=1).encode()
    save_atomically(path, lambda beside: beside.write_bytes(text))


def check_recipe(path: Path, recipe: Mapping[str, object], *, what: str, way_out: str) -> None:
    """Refuse what was made with another recipe.

    Args:
        path: The JSON file beside what was made; it is there.
        recipe: The one that is wanted, JSON values (lists, not tuples).
        what: How errors call what was made, e.g. ``"pairs"``.
        way_out: What the user can do about another recipe.

    Raises:
        ValueError: The file cannot be read, or holds another recipe; names every value that differs.
    """
    again = f"delete the folder to make the {what} anew"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); {again}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a JSON object is expected; {again}")
    if differing := differences(found, recipe):
        raise ValueError(f"{path.parent} holds {what} of another recipe ({differing}); {way_out}")
